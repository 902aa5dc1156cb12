//! Where the running kernel keeps the fields that say who is calling.
//!
//! rustc emits no CO-RE relocations, so the offsets are looked up in the
//! kernel's own type information and handed to the programs as constants.

use std::{fs, path::Path};

use thiserror::Error;

/// The kernel's type information.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// Byte offsets of the fields that the programs read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offsets {
    /// `task_struct.group_leader`
    pub task_group_leader: u32,
    /// `task_struct.comm`
    pub task_comm: u32,
    /// `task_struct.cred`, the effective credentials.
    pub task_cred: u32,
    /// `cred.euid`
    pub cred_euid: u32,
}

/// Why the offsets could not be had.
#[derive(Debug, Error)]
pub enum BtfError {
    /// The kernel has no type information.
    #[error(
        "{path}: {source}; portreeve needs a kernel built with CONFIG_DEBUG_INFO_BTF=y and sysfs mounted on /sys"
    )]
    Unreadable {
        /// The file that was tried.
        path: String,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The file is not the type information of a kernel like this one.
    #[error("{path} is not type information this agent can read: {what}")]
    Malformed {
        /// The file that was read.
        path: String,
        /// What was wrong with it.
        what: &'static str,
    },
    /// A field that the programs read is not there.
    #[error(
        "this kernel's struct {record} has no field {field}; portreeve can't tell who binds on it"
    )]
    NoField {
        /// Name of the structure.
        record: &'static str,
        /// Name of the field.
        field: &'static str,
    },
}

impl Offsets {
    /// The offsets of the running kernel.
    ///
    /// # Errors
    ///
    /// See [`BtfError`].
    pub fn of_running_kernel() -> Result<Self, BtfError> {
        Self::of_file(Path::new(VMLINUX))
    }

    fn of_file(path: &Path) -> Result<Self, BtfError> {
        let bytes = fs::read(path).map_err(|source| BtfError::Unreadable {
            path: path.display().to_string(),
            source,
        })?;
        let types = Types::parse(&bytes).ok_or_else(|| BtfError::Malformed {
            path: path.display().to_string(),
            what: "the header is wrong or of the other byte order",
        })?;
        let field = |record, field| {
            types
                .offset(record, field)
                .ok_or(BtfError::NoField { record, field })
        };
        Ok(Self {
            task_group_leader: field("task_struct", "group_leader")?,
            task_comm: field("task_struct", "comm")?,
            task_cred: field("task_struct", "cred")?,
            cred_euid: field("cred", "euid")?,
        })
    }
}

/// The two sections of a BTF blob.
struct Types<'a> {
    types: &'a [u8],
    strings: &'a [u8],
}

/// One type's header and what follows it.
struct Type<'a> {
    name: u32,
    info: u32,
    size: u32,
    members: &'a [u8],
}

const MAGIC: u16 = 0xeb9f;
const KIND_STRUCT: u32 = 4;
/// Bytes behind the header of each kind (0 to 19): fixed part and part per `vlen`.
const TRAILERS: [(usize, usize); 20] = [
    (0, 0),  // void
    (4, 0),  // int
    (0, 0),  // pointer
    (12, 0), // array
    (0, 12), // struct
    (0, 12), // union
    (0, 8),  // enum
    (0, 0),  // forward
    (0, 0),  // typedef
    (0, 0),  // volatile
    (0, 0),  // const
    (0, 0),  // restrict
    (0, 0),  // function
    (0, 8),  // function prototype
    (4, 0),  // variable
    (0, 12), // data section
    (0, 0),  // float
    (4, 0),  // declaration tag
    (0, 0),  // type tag
    (0, 12), // enum64
];

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..offset.checked_add(4)?)?;
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

impl<'a> Types<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let magic = u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?);
        if magic != MAGIC {
            return None;
        }
        let header = u32_at(bytes, 4)? as usize;
        let section = |at: usize| {
            let start = header.checked_add(u32_at(bytes, at)? as usize)?;
            bytes.get(start..start.checked_add(u32_at(bytes, at + 4)? as usize)?)
        };
        Some(Self {
            types: section(8)?,
            strings: section(16)?,
        })
    }

    fn iter(&self) -> impl Iterator<Item = Type<'a>> {
        let mut rest = self.types;
        std::iter::from_fn(move || {
            let (name, info, size) = (u32_at(rest, 0)?, u32_at(rest, 4)?, u32_at(rest, 8)?);
            let (fixed, each) = *TRAILERS.get((info >> 24 & 0x1f) as usize)?;
            let length = fixed + each * (info & 0xffff) as usize;
            let members = rest.get(12..12 + length)?;
            rest = &rest[12 + length..];
            Some(Type {
                name,
                info,
                size,
                members,
            })
        })
    }

    fn name_is(&self, offset: u32, name: &str) -> bool {
        self.strings
            .get(offset as usize..)
            .and_then(|rest| rest.strip_prefix(name.as_bytes()))
            .is_some_and(|rest| rest.first() == Some(&0))
    }

    /// Byte offset of `field`, a direct member of `struct record`.
    fn offset(&self, record: &str, field: &str) -> Option<u32> {
        let record = self.iter().find(|kind| {
            // A size tells the definition from a forward declaration of that name.
            kind.info >> 24 & 0x1f == KIND_STRUCT
                && kind.size > 0
                && self.name_is(kind.name, record)
        })?;
        let has_bitfields = record.info >> 31 == 1;
        record.members.chunks_exact(12).find_map(|member| {
            let bits = u32_at(member, 8)?;
            let bits = if has_bitfields {
                bits & 0xff_ffff
            } else {
                bits
            };
            (self.name_is(u32_at(member, 0)?, field) && bits.is_multiple_of(8)).then_some(bits / 8)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A blob with an int (to be stepped over), then `struct cred { a; euid }`.
    fn blob(kind_flag: bool) -> Vec<u8> {
        let strings = b"\0cred\0a\0euid\0";
        let mut types: Vec<u32> = vec![0, 1 << 24, 4, 0];
        types.extend([
            1,
            (KIND_STRUCT << 24) | 2 | (u32::from(kind_flag) << 31),
            16,
        ]);
        types.extend([6, 1, 0]);
        types.extend([8, 1, if kind_flag { 64 | (8 << 24) } else { 64 }]);
        let types: Vec<u8> = types.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        for word in [
            24,
            0,
            types.len() as u32,
            types.len() as u32,
            strings.len() as u32,
        ] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(types);
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn finds_a_field_behind_other_types() {
        for kind_flag in [false, true] {
            let bytes = blob(kind_flag);
            let types = Types::parse(&bytes).unwrap();
            assert_eq!(types.offset("cred", "euid"), Some(8));
            assert_eq!(types.offset("cred", "eui"), None);
            assert_eq!(types.offset("cre", "euid"), None);
        }
    }

    #[test]
    fn every_truncation_is_survived() {
        let bytes = blob(false);
        for length in 0..bytes.len() {
            if let Some(types) = Types::parse(&bytes[..length]) {
                let _ = types.offset("cred", "euid");
            }
        }
    }

    #[test]
    fn the_running_kernel_has_every_field() {
        if !Path::new(VMLINUX).exists() {
            println!("skipped: this kernel has no {VMLINUX}");
            return;
        }
        let offsets = Offsets::of_running_kernel().unwrap();
        assert!(offsets.task_comm > offsets.task_group_leader);
        assert!(offsets.cred_euid > 0);
    }
}
