//! What the agent says of a kernel that can't do what it needs.

use anyhow::{Result, ensure};

use crate::{
    harness::{Sandbox, Settings, needs},
    tests,
};

tests![a_kernel_that_lacks_something_is_told_so];

/// On a kernel that has all it needs the agent starts. On an older one it ends with one
/// sentence that names the kernel and the first thing it lacks, and leaves nothing
/// behind: it doesn't enforce less than was asked for.
fn a_kernel_that_lacks_something_is_told_so(s: &Sandbox) -> Result<()> {
    let missing = needs::missing_of_hooks()?;
    let (text, release) = needs::running()?;
    let start = s.agent("PORT\n 4321 TCP RIGHT\n", Settings::DEFAULT)?;
    let Some(first) = missing.first() else {
        return start.start()?.status().map(drop);
    };
    ensure!(release < (5, 10), "Linux {text} lacks {missing:?}");
    let refused = start.finish()?.ended_with(1)?;
    ensure!(refused.stdout.is_empty(), "{refused:?}");
    let sentence = refused.stderr.lines().find(|line| line.contains("lacks"));
    let sentence = sentence.unwrap_or_default();
    for word in [text.as_str(), first, "Linux 5.10"] {
        ensure!(
            sentence.contains(word),
            "{word:?} isn't named in {refused:?}"
        );
    }
    ensure!(!s.is_pinned(), "pins stay");
    Ok(())
}
