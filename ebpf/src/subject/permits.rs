//! Whether the caller's user or one of its groups is in a permit set.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use portreeve_common::abi::{Field, jobs::PermitKey};

use crate::{
    maps::{PERMITS, offset},
    task::{Record, number},
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
    if is_member(half, set, PermitKey::USER, cred.get(Field::CredEuid))
        || is_member(half, set, PermitKey::GROUP, cred.get(Field::CredEgid))
    {
        return 1;
    }
    let Some(groups) = cred.follow(Field::CredGroups) else {
        return 0;
    };
    let length: u32 = groups.get(Field::GroupsLength);
    let ids = number(groups.address()) + u64::from(offset(Field::GroupsIds));
    let mut first = 0;
    while first < MAX_GROUPS && first < length {
        let found = is_group_permitted(half, set, ids + 4 * u64::from(first), length - first);
        if found != GO_ON {
            return found;
        }
        first += GROUPS as u32;
    }
    0
}

/// [`is_group_permitted`]: none of these, there may be more.
const GO_ON: u32 = 2;

/// Whether one of the next few groups at `address`, of `left`, is in `set`. The verifier
/// walks it once, not for each few.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn is_group_permitted(half: u32, set: u32, address: u64, left: u32) -> u32 {
    let mut some = [0; GROUPS];
    // What can't be read is zeroed, and group 0 is a group.
    if !read_groups(address, &mut some) {
        return 0;
    }
    let mut index = 0;
    while index < GROUPS {
        // Behind the end of the list stands something else.
        if index as u32 >= left {
            return 0;
        }
        if is_member(half, set, PermitKey::GROUP, some[index]) {
            return 1;
        }
        index += 1;
    }
    GO_ON
}

#[inline(always)]
fn is_member(half: u32, set: u32, kind: u32, id: u32) -> bool {
    let key = PermitKey {
        half,
        set,
        kind,
        id,
    };
    PERMITS.get_ptr(&key).is_some()
}

#[inline(always)]
fn read_groups(address: u64, groups: &mut [u32; GROUPS]) -> bool {
    let size = size_of::<[u32; GROUPS]>() as u32;
    // SAFETY: the helper writes as many bytes as the array has, whatever the address.
    let read =
        unsafe { bpf_probe_read_kernel(groups.as_mut_ptr().cast(), size, address as *const _) };
    read == 0
}
