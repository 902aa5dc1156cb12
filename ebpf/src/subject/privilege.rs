//! Whether the kernel itself would let the caller bind a low port.

use portreeve_common::abi::Field;

use crate::task::{Record, read_field};

/// `CAP_NET_BIND_SERVICE`
const NET_BIND_SERVICE: u32 = 1 << 10;
/// User namespaces can be nested so deep.
const MAX_NESTING: u32 = 33;

/// 1 for the host's root, and for a caller with `CAP_NET_BIND_SERVICE` in the user
/// namespace that owns the network namespace of the socket at `socket` (`LOW-02`).
/// Being root in a user namespace that somebody unshared is neither.
///
/// The capability is held as the kernel's `ns_capable` sees it: in that namespace,
/// or in one above of which the caller made the way down.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn may_bind_low(socket: u64) -> u32 {
    let Some(cred) = Record::task().follow(Field::TaskCred) else {
        return 0;
    };
    let euid: u32 = cred.get(Field::CredEuid);
    if euid == 0 {
        return 1;
    }
    let capabilities: u32 = cred.get(Field::CredCapabilities);
    let own: u64 = cred.get(Field::CredUserNs);
    let own_level: u32 = read_field(own, Field::UserNsLevel);
    let network: u64 = read_field(socket, Field::SockNet);
    let mut namespace: u64 = read_field(network, Field::NetUserNs);
    let mut nesting = 0;
    while nesting < MAX_NESTING {
        if namespace == own {
            return u32::from(capabilities & NET_BIND_SERVICE != 0);
        }
        let level: u32 = read_field(namespace, Field::UserNsLevel);
        if level <= own_level {
            return 0;
        }
        let parent: u64 = read_field(namespace, Field::UserNsParent);
        let owner: u32 = read_field(namespace, Field::UserNsOwner);
        if parent == own && owner == euid {
            return 1;
        }
        namespace = parent;
        nesting += 1;
    }
    0
}
