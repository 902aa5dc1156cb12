//! What a cgroup's path says about who is in it: systemd's unit, the container.

/// What the names of systemd's units that processes are in end with.
const UNITS: [&str; 3] = [".service", ".socket", ".scope"];
/// Length of a container's id, in hexadecimal digits.
const ID: usize = 64;

/// The innermost systemd unit whose cgroup `path` is, or is below.
pub fn unit_of(path: &str) -> Option<&str> {
    let is_unit = |name: &&str| UNITS.iter().any(|end| name.ends_with(end));
    path.rsplit('/').find(is_unit)
}

/// The id of the container whose cgroup `path` is, or is below, as Docker, Podman,
/// containerd and CRI-O name those: `ID`, `docker-ID.scope`, `cri-containerd-ID.scope`,
/// `crio-ID.scope`, `libpod-ID.scope`.
pub fn container_of(path: &str) -> Option<&str> {
    path.rsplit('/').find_map(|name| {
        let name = name.strip_suffix(".scope").unwrap_or(name);
        let (runtime, id) = name.rsplit_once('-').unwrap_or(("", name));
        let is_id = id.len() == ID && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        // The monitor of a container is outside of it.
        (is_id && !runtime.ends_with("conmon")).then_some(id)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_named_by_their_cgroups() {
        for (path, unit) in [
            ("/system.slice/nginx.service", Some("nginx.service")),
            ("/system.slice/nginx.service/workers", Some("nginx.service")),
            ("/system.slice/vsftpd.socket", Some("vsftpd.socket")),
            ("/init.scope", Some("init.scope")),
            (
                "/user.slice/user-7.slice/user@7.service/app.slice/web.service",
                Some("web.service"),
            ),
            ("/user.slice/user-7.slice", None),
            ("/", None),
            ("/batch", None),
        ] {
            assert_eq!(unit_of(path), unit, "{path}");
        }
    }

    #[test]
    fn containers_are_named_by_their_cgroups() {
        let id = "0123456789abcdef".repeat(4);
        for (path, is_one) in [
            (format!("/system.slice/docker-{id}.scope"), true),
            (format!("/docker/{id}"), true),
            (format!("/kubepods/besteffort/pod1/{id}/init"), true),
            (format!("/kubepods.slice/cri-containerd-{id}.scope"), true),
            (format!("/kubepods.slice/crio-{id}.scope"), true),
            (format!("/machine.slice/libpod-{id}.scope/container"), true),
            (format!("/machine.slice/libpod-conmon-{id}.scope"), false),
            (format!("/system.slice/docker-{}.scope", &id[1..]), false),
            (format!("/system.slice/{id}x.service"), false),
            ("/system.slice/docker.service".to_owned(), false),
        ] {
            assert_eq!(container_of(&path), is_one.then_some(&id[..]), "{path}");
        }
    }
}
