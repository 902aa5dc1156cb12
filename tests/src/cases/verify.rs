//! Everything checked at once, after a change.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{
    ensure_eq,
    harness::{Agent, Binder, Sandbox, Servant, Settings, request::Kind, tcp},
    tests,
};

tests![
    each_problem_is_found,
    what_a_job_left_behind,
    a_job_that_lives_leaves_nothing_behind,
];

const PROFILE: &str = "PORT\n 8080 TCP WEB\n 2121 TCP FTPD\n 2323 TCP RESERVED\n";
const EXPECT: &str = "[[expect]]\nports = 'tcp/2121'\nstate = 'open'\nowner = 'ops'\n";

/// What is not as it should be; the exit status says whether there is any.
fn problems(s: &Sandbox) -> Result<Vec<Value>> {
    let found = s.portreeve(&["verify", "--format", "json"])?;
    let code = found.code.context("it was killed")?;
    let report = found.json()?;
    let problems = report["problems"].as_array().cloned();
    let problems = problems.context("no problems")?;
    ensure_eq!(report["ok"], problems.is_empty(), "{report}");
    ensure_eq!(code, i32::from(!problems.is_empty()), "{report}");
    Ok(problems)
}

fn kinds(problems: &[Value]) -> Vec<&str> {
    let kinds = problems
        .iter()
        .filter_map(|problem| problem["kind"].as_str());
    kinds.collect()
}

fn ensure_kinds(s: &Sandbox, expected: &[&str]) -> Result<Vec<Value>> {
    let problems = problems(s)?;
    ensure_eq!(kinds(&problems), expected, "{problems:?}");
    Ok(problems)
}

/// `CLS-08`: each kind by itself, and none when all is as it should be.
fn each_problem_is_found(s: &Sandbox) -> Result<()> {
    s.portreeve(&["verify"])?.ended_with(2)?;
    s.set_policy_with(PROFILE, Settings::DEFAULT, EXPECT)?;
    let wrong = Binder::start(&s.caller("wrong"), &[tcp(2323).listening()])?;
    let agent = s.agent_again()?.start()?;
    let found = ensure_kinds(s, &["expectation", "contradicted"])?;
    ensure_eq!(found[0]["protocol"], "tcp", "{found:?}");
    ensure_eq!(found[0]["ports"], "2121", "{found:?}");
    ensure_eq!(found[1]["ports"], "2323", "{found:?}");
    let text = found[1]["text"].as_str().unwrap_or_default();
    ensure!(text.contains(&format!("pid {}", wrong.pid)), "{text}");
    drop(wrong);
    let ftp = Binder::start(&s.caller("ftpd"), &[tcp(2121).listening()])?;
    ensure_kinds(s, &[])?;
    let text = s.portreeve(&["verify"])?.ended_with(0)?.stdout;
    ensure_eq!(
        text.trim(),
        "OK: mode enforce is proven, 3 entries and 1 expectations are as they should be",
        "all is well"
    );

    // A change that isn't in force, and then is, and breaks something.
    let without = PROFILE.replace("2121 TCP FTPD", "2121 TCP NEWFTPD");
    s.set_policy_with(&without, Settings::DEFAULT, EXPECT)?;
    ensure_kinds(s, &["differs"])?;
    ensure_eq!(agent.reload(&[])?.0, 0, "reload");
    ensure_kinds(s, &["expectation", "contradicted"])?;
    drop(ftp);
    ensure_kinds(s, &["expectation"])?;
    // One that is refused.
    s.set_policy_with("PORTS 1 TCP X\n", Settings::DEFAULT, EXPECT)?;
    ensure_kinds(s, &["differs", "expectation"])?;
    agent.kill()?;
    s.portreeve(&["verify"])?.ended_with(2).map(drop)
}

/// The holder of port 8080, and why it is an orphan.
fn holder(agent: &Agent<'_>) -> Result<(Value, Value)> {
    let rows = agent.ports()?;
    let row = rows.iter().find(|row| row["port"] == 8080);
    let row = row.context("no row")?;
    ensure_eq!(row["state"], "open", "{row}");
    Ok((
        row["holder"]["pid"].clone(),
        row["holder"]["orphan"].clone(),
    ))
}

/// `CLS-09`: the service has ended, and a process that it gave its socket listens on.
fn what_a_job_left_behind(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, Settings::DEFAULT)?.start()?;
    let service = s.cgroup_below("shop.service")?;
    let maker = Servant::start(&s.caller("web").cgroup(&service))?;
    let socket = maker.serve(Kind::Tcp, [127, 0, 0, 1], 8080)??;
    let heir = Servant::start(&s.caller("web"))?;
    heir.take(&maker, socket)?;
    ensure_eq!(holder(&agent)?.1, Value::Null, "the service lives");
    ensure_kinds(s, &[])?;

    drop(maker);
    let (pid, why) = holder(&agent)?;
    ensure_eq!(pid, heir.pid, "{why}");
    let said = "shop.service made it, and no process of that has it";
    ensure_eq!(why, said, "unit without processes");
    let found = ensure_kinds(s, &["orphan"])?;
    ensure_eq!(found[0]["ports"], "8080", "{found:?}");
    let text = s.portreeve(&["ports", "tcp/8080"])?.ended_with(0)?.stdout;
    ensure!(text.contains(&format!("ORPHANED: {said}")), "{text}");
    let text = s.portreeve(&["ports"])?.ended_with(0)?.stdout;
    ensure!(text.contains(", orphaned)"), "{text}");

    // As systemd does it with a unit that has stopped.
    agent.wait_until("an empty cgroup", |_| fs::remove_dir(&service).is_ok())?;
    ensure_eq!(
        holder(&agent)?.1,
        "the cgroup that it was made in is gone",
        "unit that has stopped"
    );
    ensure_kinds(s, &["orphan"])?;
    drop(heir);
    ensure_kinds(s, &[]).map(drop)
}

/// A child in its parent's cgroup, or below, is the job; so is who is in a cgroup that the
/// job's definition names, wherever its socket was made.
fn a_job_that_lives_leaves_nothing_behind(s: &Sandbox) -> Result<()> {
    let shop = s.cgroup_below("shop.service")?;
    let worker = s.cgroup_below("shop.service/worker")?;
    let jobs = format!("[jobs.WEB]\ncgroup = '{}/shop.service'\n", s.cgroup_name());
    s.set_policy_with(PROFILE, Settings::DEFAULT, &jobs)?;
    let agent = s.agent_again()?.start()?;
    let maker = Servant::start(&s.caller("web").job("WEB").cgroup(&shop))?;
    let socket = maker.serve(Kind::Tcp, [127, 0, 0, 1], 8080)??;
    let child = Servant::start(&s.caller("child").job("WEB").cgroup(&worker))?;
    let inherited = child.take(&maker, socket)?;
    drop(maker);
    let (pid, why) = holder(&agent)?;
    ensure_eq!(pid, child.pid, "{why}");
    ensure_eq!(why, Value::Null, "a child");
    // Outside of the job's cgroup it is an orphan, and may not have the port.
    let heir = Servant::start(&s.caller("heir"))?;
    heir.take(&child, inherited)?;
    drop(child);
    ensure_kinds(s, &["contradicted", "orphan"])?;
    // Made elsewhere for the job, it is the job's.
    drop(heir);
    let other = s.cgroup_below("other.service")?;
    let child = Servant::start(&s.caller("child").job("WEB").cgroup(&shop))?;
    let opener = Servant::start(&s.caller("opener").cgroup(&other))?;
    let made = opener.socket(Kind::Tcp, false)?;
    let taken = child.take(&opener, made)?;
    drop(opener);
    child.bind(taken, [127, 0, 0, 1], 8080)??;
    child.listen(taken)??;
    ensure_eq!(holder(&agent)?.1, Value::Null, "made elsewhere");
    ensure_kinds(s, &[]).map(drop)
}
