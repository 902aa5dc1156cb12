//! Whether the caller's user or one of its groups is in a permit set.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use portreeve_common::abi::{Field, jobs::PermitKey};

use crate::{
    maps::{PERMITS, offset},
    task::Record,
};

/// Groups read at once.
const GROUPS: usize = 16;
/// Supplementary groups that are looked at; more permit nothing.
const MAX_GROUPS: u32 = 1024;

/// 1 if the caller is permitted by `set` (`SAF-10`, `IBI-02`). A set that isn't
/// there permits nobody.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn is_permitted(half: u32, set: u32) -> u32 {
    let Some(cred) = Record::task().follow(Field::TaskCred) else {
        return 0;
    };
    let is_member = |kind: u32, id: u32| {
        let key = PermitKey {
            half,
            set,
            kind,
            id,
        };
        PERMITS.get_ptr(&key).is_some()
    };
    if is_member(PermitKey::USER, cred.get(Field::CredEuid))
        || is_member(PermitKey::GROUP, cred.get(Field::CredEgid))
    {
        return 1;
    }
    let Some(groups) = cred.follow(Field::CredGroups) else {
        return 0;
    };
    let length: u32 = groups.get(Field::GroupsLength);
    let ids = groups.address() + u64::from(offset(Field::GroupsIds));
    let mut first = 0;
    while first < MAX_GROUPS {
        let mut some = [0; GROUPS];
        // What can't be read is zeroed, and group 0 is a group.
        if !read_groups(ids + 4 * u64::from(first), &mut some) {
            return 0;
        }
        let mut index = 0;
        while index < GROUPS {
            // Behind the end of the list stands something else.
            if first + index as u32 >= length {
                return 0;
            }
            if is_member(PermitKey::GROUP, some[index]) {
                return 1;
            }
            index += 1;
        }
        first += GROUPS as u32;
    }
    0
}

#[inline(always)]
fn read_groups(address: u64, groups: &mut [u32; GROUPS]) -> bool {
    let size = size_of::<[u32; GROUPS]>() as u32;
    // SAFETY: the helper writes as many bytes as the array has, whatever the address.
    let read =
        unsafe { bpf_probe_read_kernel(groups.as_mut_ptr().cast(), size, address as *const _) };
    read == 0
}
