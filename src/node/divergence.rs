//! Who differs: what the digests of several members at one index say.
//!
//! Invariant: a majority of all members is believed, and nobody else; what is not known of a member says nothing about it.

use crate::base::MemberId;

/// What a comparison shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Whoever is known holds the same.
    Alike,
    /// A majority holds the same, and these do not: each with its digest.
    Differ {
        /// The digest of the majority.
        majority: u64,
        /// Who has another.
        others: Vec<(MemberId, u64)>,
    },
    /// Members differ, and no majority says which are right.
    Undecided(Vec<(MemberId, u64)>),
}

/// Judges the digests of members at one index, of a cluster of so many.
pub fn judge(digests: &[(MemberId, u64)], members: usize) -> Verdict {
    let alike = |digest: u64| digests.iter().filter(|(_, other)| *other == digest).count();
    let Some((_, first)) = digests.first() else { return Verdict::Alike };
    if alike(*first) == digests.len() {
        return Verdict::Alike;
    }
    match digests.iter().find(|(_, digest)| alike(*digest) > members / 2) {
        None => Verdict::Undecided(digests.to_vec()),
        Some((_, majority)) => {
            let others = digests.iter().filter(|(_, digest)| digest != majority).copied().collect();
            Verdict::Differ { majority: *majority, others }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(digests: &[u64]) -> Vec<(MemberId, u64)> {
        (1..).map(MemberId).zip(digests.iter().copied()).collect()
    }

    #[test]
    fn a_majority_of_all_members_names_who_differs() {
        assert_eq!(judge(&of(&[7, 7, 7]), 3), Verdict::Alike);
        assert_eq!(judge(&of(&[7]), 3), Verdict::Alike);
        assert_eq!(judge(&[], 3), Verdict::Alike);
        assert_eq!(judge(&of(&[7, 8, 7]), 3), Verdict::Differ { majority: 7, others: vec![(MemberId(2), 8)] });
        assert_eq!(
            judge(&of(&[1, 2, 3, 3, 3]), 5),
            Verdict::Differ { majority: 3, others: vec![(MemberId(1), 1), (MemberId(2), 2)] }
        );
    }

    #[test]
    fn without_one_nobody_is_named() {
        assert_eq!(judge(&of(&[7, 8]), 2), Verdict::Undecided(of(&[7, 8])));
        assert_eq!(judge(&of(&[7, 8]), 3), Verdict::Undecided(of(&[7, 8])), "the third is not heard of");
        assert_eq!(judge(&of(&[1, 1, 2, 2]), 4), Verdict::Undecided(of(&[1, 1, 2, 2])));
    }
}
