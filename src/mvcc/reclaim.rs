//! Reclaim: not yet; no segment is ever named for rewriting.
use super::store::Store;
use crate::base::Wrong;
use crate::env::Disk;
use std::marker::PhantomData;
pub struct ReclaimJob<D>(PhantomData<D>);
pub struct Reclaimed<D>(PhantomData<D>);
impl<D: Disk> ReclaimJob<D> {
    pub async fn run(self, _: &D) -> Result<Reclaimed<D>, Wrong> {
        Ok(Reclaimed(PhantomData))
    }
}
impl<D: Disk> Store<D> {
    pub fn reclaim_candidate(&self) -> Option<ReclaimJob<D>> {
        None
    }
    pub fn reclaimed(&mut self, _: Reclaimed<D>) {}
    pub fn garbage(&mut self) -> Vec<String> {
        Vec::new()
    }
}
