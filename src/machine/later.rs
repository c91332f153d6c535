//! Carrying out what an answer put off: rows are read by who wants them, where they wait.

use super::command::{Answer, OpAnswer, TxnAnswer};
use crate::base::{KeyValue, Refusal};
use crate::mvcc::{RangeAnswer, ReadFailure, Weight};

impl Answer {
    /// Whether something of it is still to be read.
    pub fn is_put_off(&self) -> bool {
        match self {
            Self::Later(..) => true,
            Self::Txn(txn) => txn.is_put_off(),
            _ => false,
        }
    }

    /// What it may take to read what is still to be read.
    pub fn weight(&self) -> Weight {
        match self {
            Self::Later(_, later) => later.weight(),
            Self::Txn(txn) => txn.weight(),
            _ => Weight::default(),
        }
    }

    /// The answer with everything read that was put off. It may read much: on a thread that may wait. Refused where its
    /// rows take more than `room` bytes in memory, and before any is read where that is plain.
    pub fn carry_out(self, mut room: usize) -> Result<Self, ReadFailure> {
        if !self.weight().may_fit(room) {
            return Err(Refusal::AnswerTooLarge.into());
        }
        Ok(match self {
            Self::Txn(txn) => Self::Txn(txn.carry_out(&mut room)?),
            Self::Later(bare, later) => {
                let rows = later.read(&mut room)?.kvs;
                match *bare {
                    Self::Put { .. } => Self::Put { prev_kv: only(rows) },
                    Self::DeleteRange { deleted, .. } => Self::DeleteRange { deleted, prev_kvs: rows },
                    other => other,
                }
            }
            other => other,
        })
    }
}

impl TxnAnswer {
    fn is_put_off(&self) -> bool {
        self.answers.iter().any(|answer| match answer {
            OpAnswer::Later(..) => true,
            OpAnswer::Txn(nested) => nested.is_put_off(),
            _ => false,
        })
    }

    fn weight(&self) -> Weight {
        let weights = self.answers.iter().map(|answer| match answer {
            OpAnswer::Later(_, later) => later.weight(),
            OpAnswer::Txn(nested) => nested.weight(),
            _ => Weight::default(),
        });
        weights.sum()
    }

    fn carry_out(mut self, room: &mut usize) -> Result<Self, ReadFailure> {
        let answers = self.answers.into_iter().map(|answer| answer.carry_out(room));
        self.answers = answers.collect::<Result<_, _>>()?;
        Ok(self)
    }
}

impl OpAnswer {
    fn carry_out(self, room: &mut usize) -> Result<Self, ReadFailure> {
        Ok(match self {
            Self::Txn(nested) => Self::Txn(nested.carry_out(room)?),
            Self::Later(bare, later) => {
                let read = later.read(room)?;
                match *bare {
                    Self::Range(_) => Self::Range(read),
                    Self::Put { revision, .. } => Self::Put { prev_kv: only(read.kvs), revision },
                    Self::DeleteRange { deleted, revision, .. } => {
                        Self::DeleteRange { deleted, prev_kvs: read.kvs, revision }
                    }
                    other => other,
                }
            }
            other => other,
        })
    }

    /// A range's answer without anything in it, to be put off.
    pub(super) fn empty_range() -> Self {
        Self::Range(RangeAnswer::default())
    }
}

fn only(rows: Vec<KeyValue>) -> Option<KeyValue> {
    rows.into_iter().next()
}
