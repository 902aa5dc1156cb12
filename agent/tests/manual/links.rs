//! Links between documents lead somewhere.

use crate::{markdown, read, root};

/// The name by which a heading is linked to.
fn anchor(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn links_lead_somewhere() {
    let mut count = 0;
    for path in markdown(&root().join("docs")) {
        let text = std::fs::read_to_string(&path).expect("a document can be read");
        for link in text.split("](").skip(1) {
            let target = link.split(')').next().unwrap_or_default();
            if target.contains("://") {
                continue;
            }
            let (file, section) = target.split_once('#').unwrap_or((target, ""));
            let folder = path.parent().expect("a document is in a folder");
            let linked = match file {
                "" => path.clone(),
                file => folder.join(file),
            };
            assert!(linked.exists(), "{}: {target}", path.display());
            if !section.is_empty() {
                let headings = read(&linked).headings;
                let there = headings
                    .iter()
                    .any(|(_, _, title)| anchor(title) == section);
                assert!(there, "{}: {target}", path.display());
            }
            count += 1;
        }
    }
    assert!(count > 0, "no links were found");
}
