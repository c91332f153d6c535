//! Feature gates: etcd's names, stages, defaults and texts, and which of them do something here.
//!
//! A gate that has nothing to do is accepted: what it asks for is there always, or there is nothing to ask it of.

use crate::server::values;

/// A gate: its name, its default, and whether it is alpha (else beta).
const GATES: [(&str, bool, bool); 9] = [
    ("CompactHashCheck", false, true),
    ("FastLeaseKeepAlive", true, false),
    ("InitialCorruptCheck", false, true),
    ("LeaseCheckpoint", false, true),
    ("LeaseCheckpointPersist", false, true),
    ("PriorityRequest", false, true),
    ("SetMemberLocalAddr", false, true),
    ("StopGRPCServiceOnDefrag", false, true),
    ("TxnModeWriteWithSharedBuffer", true, false),
];

/// The gates, each open or not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Features {
    open: Vec<(&'static str, bool)>,
    all_alpha: bool,
    all_beta: bool,
}

impl Features {
    /// Reads `A=true,B=false`; `AllAlpha` and `AllBeta` stand for those of their stage that are not named.
    ///
    /// # Errors
    /// etcd's text.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut named: Vec<(&str, bool)> = Vec::new();
        for pair in text.split(',').filter(|pair| !pair.is_empty()) {
            let name = pair.split('=').next().unwrap_or_default().trim();
            if !GATES.iter().any(|(known, ..)| *known == name) && !["AllAlpha", "AllBeta"].contains(&name) {
                let missing = !pair.contains('=');
                return Err(if missing { missing_value(name) } else { format!("unrecognized feature gate: {name}") });
            }
            let value = pair.split_once('=').map(|(_, value)| value.trim()).ok_or_else(|| missing_value(name))?;
            let open = values::boolean(value).map_err(|_| {
                format!("invalid value of {name}={value}, err: strconv.ParseBool: parsing {value:?}: invalid syntax")
            })?;
            named.push((name, open));
        }
        let of = |name: &str| named.iter().rfind(|(given, _)| *given == name).map(|(_, open)| *open);
        let open = GATES.map(|(name, default, alpha)| {
            let stage = of(if alpha { "AllAlpha" } else { "AllBeta" });
            // A stage that is shut says nothing of what is open by default.
            (name, of(name).or(stage).unwrap_or(default))
        });
        let is_given = |name| of(name).unwrap_or(false);
        Ok(Self { open: open.to_vec(), all_alpha: is_given("AllAlpha"), all_beta: is_given("AllBeta") })
    }

    /// Whether a gate is open.
    pub fn is_open(&self, name: &str) -> bool {
        self.open.iter().any(|(known, open)| *known == name && *open)
    }

    /// Every gate with its stage, and the two that stand for a stage; open or not.
    pub fn all(&self) -> Vec<(&'static str, &'static str, bool)> {
        let stage = |alpha: bool| if alpha { "ALPHA" } else { "BETA" };
        let gates = GATES.iter().map(|(name, _, alpha)| (*name, stage(*alpha), self.is_open(name)));
        let stages = [("AllAlpha", true, self.all_alpha), ("AllBeta", false, self.all_beta)];
        stages.map(|(name, alpha, open)| (name, stage(alpha), open)).into_iter().chain(gates).collect()
    }

    /// What gates ask of each other.
    ///
    /// # Errors
    /// etcd's text.
    pub fn check(&self) -> Result<(), String> {
        if self.is_open("LeaseCheckpointPersist") && !self.is_open("LeaseCheckpoint") {
            return Err(
                "enabling feature gate LeaseCheckpointPersist requires enabling feature gate LeaseCheckpoint".into()
            );
        }
        Ok(())
    }
}

fn missing_value(name: &str) -> String {
    format!("missing bool value for {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_are_read_as_etcd_reads_them() {
        let none = Features::read("").expect("the defaults");
        assert!(!none.is_open("InitialCorruptCheck") && none.is_open("FastLeaseKeepAlive"));
        let some = Features::read("InitialCorruptCheck=true,CompactHashCheck=1,FastLeaseKeepAlive=F").expect("known");
        assert!(some.is_open("InitialCorruptCheck") && some.is_open("CompactHashCheck"));
        assert!(!some.is_open("FastLeaseKeepAlive") && !some.is_open("PriorityRequest"));
        let all = Features::read("AllAlpha=true,CompactHashCheck=false,AllBeta=false").expect("known");
        assert!(all.is_open("InitialCorruptCheck") && !all.is_open("CompactHashCheck"));
        assert!(!all.is_open("TxnModeWriteWithSharedBuffer"));
        assert_eq!(all.all().len(), GATES.len() + 2);
        for told in [("AllAlpha", "ALPHA", true), ("AllBeta", "BETA", false), ("CompactHashCheck", "ALPHA", false)] {
            assert!(all.all().contains(&told), "{told:?}");
        }
        assert_eq!(all.check(), Ok(()));
    }

    /// Each text was recorded from stock etcd 3.7.1.
    #[test]
    fn what_is_no_gate_is_refused_in_etcds_words() {
        for (text, why) in [
            ("Foo=true", "unrecognized feature gate: Foo"),
            ("InitialCorruptCheck=true,Foo=false", "unrecognized feature gate: Foo"),
            ("initialcorruptcheck=true", "unrecognized feature gate: initialcorruptcheck"),
            ("=true", "unrecognized feature gate: "),
            ("Foo", "missing bool value for Foo"),
            ("InitialCorruptCheck", "missing bool value for InitialCorruptCheck"),
            (" InitialCorruptCheck = true , ", "missing bool value for "),
            ("AllAlpha=x", "invalid value of AllAlpha=x, err: strconv.ParseBool: parsing \"x\": invalid syntax"),
            (
                "InitialCorruptCheck=",
                "invalid value of InitialCorruptCheck=, err: strconv.ParseBool: parsing \"\": invalid syntax",
            ),
        ] {
            assert_eq!(Features::read(text), Err(why.to_string()), "{text}");
        }
        let refused = Features::read("LeaseCheckpointPersist=true").expect("known").check();
        assert!(refused.is_err_and(|why| why.starts_with("enabling feature gate LeaseCheckpointPersist requires")));
    }
}
