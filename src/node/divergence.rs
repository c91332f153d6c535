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

/// Judges the digests of members at one index. A majority is one of the `voters`: a learner that was filled from a wrong
/// state would speak for it. Learners are held against what the voters' majority has.
pub fn judge_all(digests: &[(MemberId, u64)], voters: &[MemberId]) -> Verdict {
    let (voting, learning): (Vec<_>, Vec<_>) = digests.iter().copied().partition(|(id, _)| voters.contains(id));
    let (majority, mut others) = match judge(&voting, voters.len()) {
        Verdict::Differ { majority, others } => (majority, others),
        Verdict::Alike if voting.len() > voters.len() / 2 => (voting[0].1, Vec::new()),
        undecided => return undecided,
    };
    others.extend(learning.into_iter().filter(|(_, digest)| *digest != majority));
    if others.is_empty() { Verdict::Alike } else { Verdict::Differ { majority, others } }
}

/// Judges the digests of members at one index, of a cluster of so many.
fn judge(digests: &[(MemberId, u64)], members: usize) -> Verdict {
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
    fn learners_are_named_and_name_nobody() {
        let voters = [MemberId(1), MemberId(2)];
        assert_eq!(judge_all(&of(&[8, 7, 8]), &voters), Verdict::Undecided(of(&[8, 7])), "a learner has no say");
        let named = Verdict::Differ { majority: 7, others: vec![(MemberId(3), 8)] };
        assert_eq!(judge_all(&of(&[7, 7, 8]), &voters), named);
        assert_eq!(judge_all(&of(&[7, 7, 7]), &voters), Verdict::Alike);
        let three = [MemberId(1), MemberId(2), MemberId(3)];
        assert_eq!(judge_all(&[(MemberId(1), 7), (MemberId(4), 8)], &three), Verdict::Alike, "one voter says little");
        assert_eq!(judge_all(&of(&[7, 8, 7]), &three), Verdict::Differ { majority: 7, others: vec![(MemberId(2), 8)] });
    }

    #[test]
    fn without_one_nobody_is_named() {
        assert_eq!(judge(&of(&[7, 8]), 2), Verdict::Undecided(of(&[7, 8])));
        assert_eq!(judge(&of(&[7, 8]), 3), Verdict::Undecided(of(&[7, 8])), "the third is not heard of");
        assert_eq!(judge(&of(&[1, 1, 2, 2]), 4), Verdict::Undecided(of(&[1, 1, 2, 2])));
    }
}
