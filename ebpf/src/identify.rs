//! What the kernel knows a file by, for the agent to fill the tables with.
//!
//! `stat` tells another device on some file systems, another number on others, and
//! no generation at all, so the agent asks the kernel itself, by the way on which
//! the programs find a caller's executable.

use portreeve_common::abi::{Field, jobs::ExeKey};

use crate::{
    maps::IDENTIFIED,
    task::{Record, read, read_field},
};

/// Leaves in [`IDENTIFIED`] the inode behind `descriptor` of the current process;
/// zeros if there is no such descriptor.
#[inline(always)]
pub fn answer(descriptor: u64) {
    const NOTHING: ExeKey = ExeKey {
        half: 0,
        device: 0,
        inode: 0,
        generation: 0,
        reserved: 0,
    };
    let Some(place) = IDENTIFIED.get_ptr_mut(0) else {
        return;
    };
    let answer = inode(descriptor).unwrap_or(NOTHING);
    // SAFETY: the kernel gave a valid element, and the agent, which is the only one
    // to run this, waits until it has ended.
    unsafe { *place = answer };
}

#[inline(always)]
fn inode(descriptor: u64) -> Option<ExeKey> {
    let table = Record::task()
        .follow(Field::TaskFiles)?
        .follow(Field::FilesTable)?;
    if descriptor >= u64::from(table.get::<u32>(Field::TableLength)) {
        return None;
    }
    let files: u64 = table.get(Field::TableFiles);
    // What the verifier can't type from here on: an element of an array.
    let file: u64 = read(files + descriptor * size_of::<u64>() as u64);
    let inode: u64 = read_field(file, Field::FileInode);
    let file_system: u64 = read_field(inode, Field::InodeSuper);
    if file == 0 || inode == 0 || file_system == 0 {
        return None;
    }
    Some(ExeKey {
        half: 0,
        device: read_field(file_system, Field::SuperDevice),
        inode: read_field(inode, Field::InodeNumber),
        generation: read_field(inode, Field::InodeGeneration),
        reserved: 0,
    })
}
