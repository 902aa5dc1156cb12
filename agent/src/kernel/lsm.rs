//! Whether the kernel asks security modules written in BPF.

use std::{fs, path::Path};

/// The kernel's own list of the modules it asks.
const LIST: &str = "/sys/kernel/security/lsm";

/// Whether the kernel asks the BPF LSM. A kernel that doesn't lets programs be
/// attached to it all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BpfLsm {
    /// It does.
    Active,
    /// It asks others only.
    Inactive {
        /// Those, as the kernel lists them.
        modules: String,
    },
    /// The kernel's list can't be read.
    Unknown,
}

impl BpfLsm {
    /// Of the kernel we run on.
    pub fn of_host() -> Self {
        Self::of_file(Path::new(LIST))
    }

    fn of_file(path: &Path) -> Self {
        match fs::read_to_string(path) {
            Ok(list) => Self::of_list(list.trim()),
            Err(_) => Self::Unknown,
        }
    }

    fn of_list(list: &str) -> Self {
        if list.split(',').any(|module| module == "bpf") {
            Self::Active
        } else {
            Self::Inactive {
                modules: list.to_owned(),
            }
        }
    }

    /// Why nothing can be judged at listen; `None` if it can.
    pub fn problem(&self) -> Option<String> {
        match self {
            Self::Active => None,
            Self::Inactive { .. } => Some("the BPF LSM is not active on this kernel".into()),
            Self::Unknown => Some(format!(
                "it can't be told whether the BPF LSM is active on this kernel, because {LIST} can't be read"
            )),
        }
    }

    /// What would make it active, as an advice; `None` if it is.
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::Active => None,
            Self::Inactive { modules } => {
                // That one always comes first, unasked.
                let others = modules
                    .split(',')
                    .filter(|module| !matches!(*module, "" | "capability"));
                let wanted: Vec<&str> = others.chain(["bpf"]).collect();
                Some(format!(
                    "boot a kernel that has CONFIG_BPF_LSM with the parameter lsm={}",
                    wanted.join(",")
                ))
            }
            Self::Unknown => {
                Some("mount it with `mount -t securityfs securityfs /sys/kernel/security`".into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_list_is_read_name_by_name() {
        assert_eq!(
            BpfLsm::of_list("lockdown,capability,yama,bpf"),
            BpfLsm::Active
        );
        for (list, parameter) in [
            ("lockdown,capability,yama", "lsm=lockdown,yama,bpf"),
            ("capability,bpfilter", "lsm=bpfilter,bpf"),
            ("", "lsm=bpf"),
        ] {
            let lsm = BpfLsm::of_list(list);
            assert!(lsm.problem().unwrap().contains("not active"), "{list}");
            assert!(lsm.advice().unwrap().ends_with(parameter), "{lsm:?}");
        }
        assert_eq!(BpfLsm::Active.problem().or(BpfLsm::Active.advice()), None);
    }

    #[test]
    fn without_the_list_nothing_is_claimed() {
        let lsm = BpfLsm::of_file(Path::new("/nonexistent/lsm"));
        assert_eq!(lsm, BpfLsm::Unknown);
        assert!(lsm.problem().unwrap().contains(LIST));
        assert!(lsm.advice().unwrap().contains("securityfs"));
    }
}
