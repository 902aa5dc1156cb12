//! The refusals that entries made: their counts go on when the entries stay.

use std::sync::atomic::Ordering;

use portreeve_common::abi::{Active, MAX_ENTRIES};

use super::{mapping::Mapping, tables::Publication};
use crate::policy::pairs::Stretch;

/// Starts the idle half's refusal counts: zero, or what a kept entry has now.
/// Returns the counts taken over, in the order of [`words`], so that refusals made
/// until the change can be added when nobody reads the old half any more.
pub(super) fn carry(
    refusals: &Mapping<u64>,
    before: Active,
    half: u32,
    publication: &Publication<'_>,
) -> Vec<u64> {
    refusals.write(
        half * MAX_ENTRIES,
        &vec![0; publication.image.entries.len()],
    );
    let carry = |(old, new): (u32, u32)| {
        let counted = refusals.atomic(old).load(Ordering::Relaxed);
        if counted > 0 {
            refusals.atomic(new).store(counted, Ordering::Relaxed);
        }
        counted
    };
    words(before, half, publication).map(carry).collect()
}

/// Adds the refusals that were made by the half in force `before` since those were
/// `carried` of which [`carry`] knew.
pub(super) fn add_late(
    refusals: &Mapping<u64>,
    before: Active,
    half: u32,
    publication: &Publication<'_>,
    carried: &[u64],
) {
    for ((old, new), counted) in words(before, half, publication).zip(carried) {
        let late = refusals.atomic(old).load(Ordering::Relaxed) - counted;
        if late > 0 {
            refusals.atomic(new).fetch_add(late, Ordering::Relaxed);
        }
    }
}

/// Of each entry that stays: where its refusals are counted in the half that is in force
/// `before`, and in the other one, `half`.
fn words(
    before: Active,
    half: u32,
    publication: &Publication<'_>,
) -> impl Iterator<Item = (u32, u32)> {
    let kept = match before {
        Active::NONE => &[],
        _ => publication.kept,
    };
    let entries = publication.image.entries.len() as u32;
    let (from, to) = (before.half() * MAX_ENTRIES, half * MAX_ENTRIES);
    kept.iter().flat_map(move |stretch| {
        let Stretch {
            before,
            after,
            length,
        } = *stretch;
        // None is outside of its half, whoever says so.
        let length = length
            .min(MAX_ENTRIES.saturating_sub(before))
            .min(entries.saturating_sub(after));
        (0..length).map(move |index| (from + before + index, to + after + index))
    })
}
