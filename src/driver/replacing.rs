//! What a person does to replace a member, in the words of the command line.

use crate::base::MemberId;

/// The commands, to stand in a sentence. A member is added by its peer URLs: without them nothing is added.
pub(super) fn replacing(id: MemberId, name: &str, peer_urls: &[String]) -> String {
    // A list that nothing is known of is for the person to fill in.
    let urls = if peer_urls.is_empty() { "URLS".to_owned() } else { peer_urls.join(",") };
    format!(
        "quoratectl member remove {id}, quoratectl member add {name} --peer-urls={urls}, then start it with \
         --initial-cluster-state=existing and an empty data directory"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_whole() {
        let urls = ["http://a:1".to_owned(), "http://b:2".to_owned()];
        let told = replacing(MemberId(0x1f), "m1", &urls);
        let add = "member add m1 --peer-urls=http://a:1,http://b:2, then start it";
        assert!(told.starts_with("quoratectl member remove ") && told.contains(add), "{told}");
        assert!(replacing(MemberId(1), "m1", &[]).contains("--peer-urls=URLS"));
    }
}
