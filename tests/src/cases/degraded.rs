//! Kernels that lack something: refused unless the config accepts it, and said.

use anyhow::{Result, ensure};
use nix::errno::Errno;
use serde_json::Value;

use crate::{
    ensure_eq,
    harness::{
        Binder, NOBODY, Need, Sandbox, needs,
        needs::{ACCEPTED, Accepted},
        refusal, skip, tcp, udp,
    },
    tests,
};

tests![
    what_is_lacking_is_refused_unless_accepted,
    what_is_accepted_is_done_without,
    where_nothing_is_lacking_the_words_change_nothing,
    in_audit_mode_nothing_is_lacking,
];

/// Asks for all that a kernel may lack: a refusal, a grant, a switched option.
const PROFILE: &str = "PORT\n 21 TCP RIGHT\n 4321 TCP RIGHT\n 4321 UDP RIGHT\n";

/// The code of a policy that needs what the kernel lacks.
const CODE: &str = "PRV305";

fn config(s: &Sandbox, words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    format!(
        "[degraded]\naccept = [{}]\n[events]\nreport = \"all\"\n[jobs.RIGHT]\nuser = {NOBODY}\ncgroup = \"{}\"\n",
        words.join(", "),
        s.cgroup_name()
    )
}

/// What this kernel lacks; all there may be if `lacking` is false.
fn those(lacking: bool) -> Result<Vec<Accepted>> {
    let mut those = Vec::new();
    for accepted in ACCEPTED {
        if accepted.need.is_there()? != lacking {
            those.push(accepted);
        }
    }
    Ok(those)
}

fn words(accepted: &[Accepted]) -> Vec<&'static str> {
    accepted.iter().map(|it| it.word).collect()
}

fn lacking() -> Result<Vec<Accepted>> {
    let lacking = those(true)?;
    if lacking.is_empty() {
        let (text, _) = needs::running()?;
        return Err(skip(format!("Linux {text} lacks nothing")));
    }
    // One that should have it is not let off.
    for it in &lacking {
        if let Err(error) = it.need.check()
            && !error.is::<crate::harness::Skipped>()
        {
            return Err(error);
        }
    }
    Ok(lacking)
}

/// One word too few, and nothing starts; `check` says the same, and one thing alone
/// lacking is the only one named. Nothing stays behind.
fn what_is_lacking_is_refused_unless_accepted(s: &Sandbox) -> Result<()> {
    let lacking = words(&lacking()?);
    let (release, _) = needs::running()?;
    for left_out in &lacking {
        let others: Vec<&str> = lacking
            .iter()
            .copied()
            .filter(|it| it != left_out)
            .collect();
        let start = s.agent_with(PROFILE, &config(s, &others))?;
        let profile = s.profile().display().to_string();
        let settings = s.config().display().to_string();
        let check = s.portreeve(&["check", &profile, "--config", &settings])?;
        for refused in [start.finish()?.ended_with(1)?, check.ended_with(1)?] {
            let said = format!("{}{}", refused.stdout, refused.stderr);
            let errors: Vec<&str> = said.lines().filter(|l| l.starts_with("error")).collect();
            ensure_eq!(errors.len(), 1, "{said}");
            for word in [CODE, *left_out, &release, "[degraded]"] {
                ensure!(said.contains(word), "{word:?} isn't named in {said}");
            }
            ensure!(said.contains(&format!("add `{left_out}`")), "{said}");
        }
        ensure!(!s.is_pinned(), "pins stay");
    }
    // Bad entries can be skipped; this is none.
    let start = s.agent_with(PROFILE, &format!("on_error = \"skip\"\n{}", config(s, &[])))?;
    let refused = start.finish()?.ended_with(1)?;
    ensure_eq!(
        refused.stderr.matches(CODE).count(),
        lacking.len(),
        "{}",
        refused.stderr
    );
    Ok(())
}

/// With all words the policy is in force without: each is said by `run` and `status`,
/// and binds end as they can.
fn what_is_accepted_is_done_without(s: &Sandbox) -> Result<()> {
    let lacking = lacking()?;
    let agent = s
        .agent_with(PROFILE, &config(s, &words(&lacking)))?
        .start()?;
    let missing = agent.status()?["missing"].clone();
    let missing: Vec<String> = serde_json::from_value(missing)?;
    let log = agent.log();
    for word in words(&lacking) {
        let is_said = |line: &&String| line.starts_with(&format!("{word}: "));
        ensure_eq!(missing.iter().filter(is_said).count(), 1, "{missing:?}");
        ensure!(log.contains(&format!("`{word}` under [degraded]")), "{log}");
    }
    ensure_eq!(log.matches(CODE).count(), lacking.len(), "{log}");
    ends_as_it_can(s)?;
    // What the kernel holds says it too.
    agent.kill()?;
    let held = s.portreeve(&["status", "--format", "json"])?.json()?;
    let held: Vec<String> = serde_json::from_value(held["missing"].clone())?;
    for line in missing
        .iter()
        .filter(|line| lacking.iter().any(|it| line.starts_with(it.word)))
    {
        ensure!(held.contains(line), "{line:?} isn't in {held:?}");
    }
    ends_as_it_can(s)
}

fn ends_as_it_can(s: &Sandbox) -> Result<()> {
    let refused = Err(refusal());
    let grants = Need::Grant.is_there()?;
    let low = if grants { Ok(()) } else { Err(Errno::EACCES) };
    let right = s.caller("any").user(NOBODY);
    for (caller, want, result) in [
        (s.caller("wrong"), tcp(4321), refused),
        (s.caller("wrong"), udp(4321), refused),
        (s.caller("wrong"), tcp(21), refused),
        (right.clone(), tcp(4321), Ok(())),
        (right, tcp(21), low),
    ] {
        let ended = Binder::attempt(&caller, &want)?;
        ensure_eq!(ended, result, "{want} by {}", caller.name);
    }
    Ok(())
}

/// Where the kernel has it, accepting its lack changes nothing: neither what is done
/// nor what is said.
fn where_nothing_is_lacking_the_words_change_nothing(s: &Sandbox) -> Result<()> {
    let there = those(false)?;
    if there.len() < ACCEPTED.len() {
        let (text, _) = needs::running()?;
        return Err(skip(format!("Linux {text} lacks something")));
    }
    let mut said: Vec<Value> = Vec::new();
    for words in [&[][..], &words(&there)] {
        let agent = s.agent_with(PROFILE, &config(s, words))?.start()?;
        let status = agent.status()?;
        let missing = status["missing"].to_string();
        for it in ACCEPTED {
            ensure!(!missing.contains(&format!("{}: ", it.word)), "{missing}");
        }
        ensure!(!agent.log().contains(CODE), "{}", agent.log());
        said.push(status["missing"].clone());
        ends_as_it_can(s)?;
        agent.terminate()?;
        s.portreeve(&["detach", "--yes"])?.ended_with(0)?;
    }
    ensure_eq!(said[0], said[1], "missing");
    Ok(())
}

/// Nothing is done to a bind in audit mode, so that nothing is needed for it.
fn in_audit_mode_nothing_is_lacking(s: &Sandbox) -> Result<()> {
    let config = format!("mode = \"audit\"\n{}", config(s, &[]));
    let agent = s.agent_with(PROFILE, &config)?.start()?;
    ensure!(!agent.log().contains(CODE), "{}", agent.log());
    let wrong = Binder::attempt(&s.caller("wrong"), &tcp(4321))?;
    ensure_eq!(wrong, Ok(()), "a bind in audit mode");
    Ok(())
}
