//! Jobs by executable: the file counts, not its name and not the process's.

use std::{
    env, fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Result, bail, ensure};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};
use serde_json::Value;

use crate::{
    ensure_eq,
    harness::{
        Agent, Binder, Caller, Case, NOBODY, Sandbox, Settings, Spinner, expect::expect, refusal,
        snapshot::Snapshot, tcp,
    },
    tests,
};

tests![
    the_file_counts_and_not_the_name,
    every_name_of_the_file_is_the_file,
    a_file_is_known_on_every_file_system,
    a_replaced_file_counts_as_long_as_it_runs,
    a_removed_file_counts_as_long_as_it_runs,
    a_file_that_appears_is_taken_up,
    what_nobody_tells_is_noticed,
    a_link_that_is_turned_leads_to_the_new_file,
    as_many_files_as_there_may_be,
    a_script_is_its_interpreter,
    the_file_alone_grants_nothing,
    a_restarted_agent_knows_what_still_runs,
];

const QUIET: Settings = Settings::DEFAULT;
const PROFILE: &str = "PORT\n 443 TCP SRV\n 4321 TCP SRV\n";
const ENTRY: &str = "4321 TCP SRV";
const LOW: &str = "443 TCP SRV";

/// A program at `path`: a copy of its own of what the tests' processes run.
fn install(path: &Path) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    // Not in place: nobody may see half of it.
    let new = path.with_extension("new");
    // By a process of its own: were it open for writing here, children that other
    // tests fork meanwhile would have it so, and nobody could run it (ETXTBSY).
    let copied = Command::new("cp")
        .arg(env::current_exe()?)
        .arg(&new)
        .status()?;
    ensure!(copied.success(), "no copy at {}", new.display());
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755))?;
    Ok(fs::rename(&new, path)?)
}

/// Writes the policy in which whoever runs one of `files` is the job SRV.
fn set_policy(s: &Sandbox, files: &[&Path], more: &str) -> Result<()> {
    s.set_policy(PROFILE, QUIET)?;
    let text = format!("{}[jobs.SRV]\nexe = {files:?}\n{more}", QUIET.toml());
    s.write("portreeve.toml", text).map(drop)
}

/// An agent with that policy. Without it any of `callers` may bind.
fn start<'s>(s: &'s Sandbox, files: &[&Path], callers: &[&Caller]) -> Result<Agent<'s>> {
    for caller in callers {
        let result = Binder::attempt(caller, &tcp(4321))?;
        ensure_eq!(result, Ok(()), "without an agent: {}", caller.name);
    }
    set_policy(s, files, "")?;
    s.agent_again()?.start()
}

/// That `caller` is the job, by errno, event and counters.
fn is_job(agent: &Agent<'_>, caller: &Caller) -> Result<()> {
    let case = Case::permitted(caller, tcp(4321), ENTRY);
    expect(agent, PROFILE, QUIET, &[case])
}

/// That it isn't.
fn is_not_job(agent: &Agent<'_>, caller: &Caller) -> Result<()> {
    let case = Case::other_job(caller, tcp(4321), ENTRY);
    expect(agent, PROFILE, QUIET, &[case])
}

/// That who calls itself like the job isn't it, nor anybody else.
fn is_nobody(agent: &Agent<'_>, liar: &Caller) -> Result<()> {
    let before = Snapshot::take(agent)?;
    let binder = Binder::start(liar, &[tcp(4321)])?;
    ensure_eq!(binder.results, [Err(refusal())], "{}", liar.name);
    let after = Snapshot::with_events(agent, before.events.len() + 1)?;
    let count = |snapshot: &Snapshot| snapshot.counters.get("other-job").copied();
    ensure_eq!(count(&after), count(&before).map(|n| n + 1), "counter");
    let new = after.events.get(before.events.len()..).unwrap_or_default();
    let [event] = new else {
        bail!("{} events instead of one: {new:#?}", new.len());
    };
    ensure_eq!(event["reason"], "other-job", "{event}");
    ensure_eq!(event["pid"], binder.pid, "{event}");
    ensure_eq!(event["job"], Value::Null, "{event}");
    Ok(())
}

fn logged(agent: &Agent<'_>, text: &str, times: usize) -> Result<()> {
    agent.wait_until(&format!("{text:?} in the log"), |agent| {
        agent.log().matches(text).count() >= times
    })
}

/// Refusals by the entry of port 4321.
fn refusals(agent: &Agent<'_>) -> Result<Value> {
    let ports = agent.ports()?;
    let row = ports.iter().find(|row| row["port"] == 4321);
    Ok(row.map_or(Value::Null, |row| row["refusals"].clone()))
}

/// Mounts of this test, which nobody else sees; undone when dropped.
struct Mounts(Vec<PathBuf>);

impl Mounts {
    fn new() -> Result<Self> {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        Ok(Self(Vec::new()))
    }

    fn add(&mut self, kind: &str, source: &Path, at: &Path, options: &str) -> Result<()> {
        let flags = match kind {
            "bind" => MsFlags::MS_BIND,
            _ => MsFlags::empty(),
        };
        mount(Some(source), at, Some(kind), flags, Some(options))?;
        self.0.push(at.to_owned());
        Ok(())
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        for point in self.0.iter().rev() {
            let _ = umount2(point, MntFlags::MNT_DETACH);
        }
    }
}

/// `DEC-10`: whoever runs the file is the job, whatever it calls itself; a file of
/// the same name and content is another one.
fn the_file_counts_and_not_the_name(s: &Sandbox) -> Result<()> {
    let (file, other) = (s.dir.join("bin/server"), s.dir.join("other/server"));
    install(&file)?;
    install(&other)?;
    let right = s.caller("whatever").running(&file);
    let wrong = s.caller("server").running(&other);
    let liar = s.caller("srv");
    let agent = start(s, &[&file], &[&right, &wrong, &liar])?;
    is_job(&agent, &right)?;
    is_job(&agent, &s.caller("sshd").running(&file).thread("thread"))?;
    is_not_job(&agent, &wrong)?;
    is_nobody(&agent, &liar)?;
    is_nobody(&agent, &s.caller("srv").running(&other))
}

/// Hard links, symbolic links and bind mounts are names of one file, in the config
/// as for the caller.
fn every_name_of_the_file_is_the_file(s: &Sandbox) -> Result<()> {
    let mut mounts = Mounts::new()?;
    let at = |name: &str| s.dir.join(name);
    install(&at("v1/server"))?;
    symlink("v1", at("current"))?;
    symlink(at("current/server"), at("server"))?;
    fs::hard_link(at("v1/server"), at("hard"))?;
    fs::create_dir(at("mounted"))?;
    fs::write(at("mounted.file"), "")?;
    mounts.add("bind", &at("v1"), &at("mounted"), "")?;
    mounts.add("bind", &at("v1/server"), &at("mounted.file"), "")?;
    let names = [
        "v1/server",
        "current/server",
        "server",
        "hard",
        "mounted/server",
        "mounted.file",
    ];
    let callers = names.map(|name| s.caller("any").running(at(name)));
    let agent = start(s, &[&at("server")], &callers.each_ref())?;
    for caller in &callers {
        is_job(&agent, caller)?;
    }
    is_not_job(&agent, &s.caller("server"))?;
    for name in ["hard", "mounted.file"] {
        set_policy(s, &[&at(name)], "")?;
        ensure_eq!(agent.reload(&[])?.0, 0, "reload with {name}");
        for caller in &callers {
            is_job(&agent, caller)?;
        }
    }
    Ok(())
}

/// `stat` tells something else than the kernel on some file systems.
fn a_file_is_known_on_every_file_system(s: &Sandbox) -> Result<()> {
    let mut mounts = Mounts::new()?;
    let at = |name: &str| s.dir.join(name);
    for folder in ["memory", "merged", "lower", "layers"] {
        fs::create_dir(at(folder))?;
    }
    let tmpfs = Path::new("tmpfs");
    mounts.add("tmpfs", tmpfs, &at("memory"), "")?;
    // Layers on a file system of their own: then an overlay has its own numbers.
    mounts.add("tmpfs", tmpfs, &at("layers"), "")?;
    fs::create_dir(at("layers/upper"))?;
    fs::create_dir(at("layers/work"))?;
    for name in ["here", "memory/server", "lower/below", "lower/changed"] {
        install(&at(name))?;
    }
    let show = |name: &str| at(name).display().to_string();
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        show("lower"),
        show("layers/upper"),
        show("layers/work")
    );
    mounts.add("overlay", Path::new("overlay"), &at("merged"), &options)?;
    install(&at("merged/above"))?;
    let files = [
        "here",
        "memory/server",
        "merged/below",
        "merged/changed",
        "merged/above",
    ];
    let callers = files.map(|name| s.caller("any").running(at(name)));
    let paths = files.map(at);
    let paths = paths.each_ref().map(PathBuf::as_path);
    let agent = start(s, &paths, &callers.each_ref())?;
    for caller in &callers {
        is_job(&agent, caller)?;
    }
    // Written to, it is copied to the upper layer, and still the same file.
    fs::set_permissions(at("merged/changed"), fs::Permissions::from_mode(0o775))?;
    ensure!(at("layers/upper/changed").exists(), "it was not copied");
    is_job(&agent, &s.caller("any").running(at("merged/changed")))?;
    // Below the overlay they are other files.
    for name in ["lower/below", "lower/changed", "layers/upper/above"] {
        is_not_job(&agent, &s.caller("any").running(at(name)))?;
    }
    Ok(())
}

/// An upgrade, by renaming: the new file is recognised at once, the former one as
/// long as it runs. Profile and config are not read for it, and counts go on.
fn a_replaced_file_counts_as_long_as_it_runs(s: &Sandbox) -> Result<()> {
    let (file, former) = (s.dir.join("bin/server"), s.dir.join("former"));
    install(&file)?;
    let (new, old) = (s.caller("new"), s.caller("old"));
    let (new, old) = (new.running(&file), old.running(&former));
    let agent = start(s, &[&file], &[&new])?;
    is_not_job(&agent, &s.caller("wrong"))?;
    ensure_eq!(refusals(&agent)?, 1, "refusals before");
    let hash = agent.status()?["profile"]["hash"].clone();
    s.write("profile.tcpip", "nonsense\n")?;
    s.write("portreeve.toml", "nonsense\n")?;

    let mut running = Spinner::start(&s.caller("running").running(&file).nice(19), &[tcp(4321)])?;
    fs::hard_link(&file, &former)?;
    install(&file)?;
    logged(&agent, "bin/server was replaced", 1)?;
    logged(&agent, "generation 2", 1)?;
    let result = Binder::attempt(&new, &tcp(443))?;
    ensure_eq!(result, Ok(()), "the new file");
    let result = Binder::attempt(&old, &tcp(443))?;
    ensure_eq!(result, Ok(()), "the former file while it runs");
    // Longer than the agent waits before it looks who runs the file.
    let tally = running.tally()?;
    thread::sleep(Duration::from_secs(8));
    running.wait_for(100)?;
    ensure_eq!(running.tally()?.refused, 0, "refused since {tally:?}");
    let log = agent.log();
    ensure!(!log.contains("runs no more"), "it runs:\n{log}");
    let tally = running.stop()?;
    ensure_eq!(tally.refused, 0, "{tally:?}");

    logged(&agent, "runs no more: generation 3", 1)?;
    ensure_eq!(refusals(&agent)?, 1, "refusals after");
    ensure_eq!(agent.status()?["profile"]["hash"], hash, "profile in force");
    s.write("profile.tcpip", PROFILE)?;
    is_job(&agent, &new)?;
    is_not_job(&agent, &old)?;
    // Back again, and then twice at once.
    fs::rename(&former, &file)?;
    logged(&agent, "bin/server was replaced", 2)?;
    is_job(&agent, &new)?;
    install(&file)?;
    install(&file)?;
    // It may have been noticed in between.
    agent.wait_until("recognition of the last file", |_| {
        matches!(Binder::attempt(&new, &tcp(4321)), Ok(Ok(())))
    })?;
    is_job(&agent, &new)
}

/// A file that is removed while it runs, and made anew.
fn a_removed_file_counts_as_long_as_it_runs(s: &Sandbox) -> Result<()> {
    let (file, link) = (s.dir.join("bin/server"), s.dir.join("link"));
    install(&file)?;
    fs::hard_link(&file, &link)?;
    let (caller, linked) = (s.caller("any"), s.caller("any").running(&link));
    let caller = caller.running(&file);
    let agent = start(s, &[&file], &[&caller])?;
    let running = Binder::start(&caller, &[tcp(4321)])?;
    ensure_eq!(running.results, [Ok(())], "before");
    fs::remove_file(&file)?;
    logged(&agent, "bin/server is gone", 1)?;
    let result = Binder::attempt(&linked, &tcp(443))?;
    ensure_eq!(result, Ok(()), "what still runs");
    drop(running);
    logged(&agent, "runs no more", 1)?;
    is_not_job(&agent, &linked)?;
    install(&file)?;
    logged(&agent, "bin/server is there now", 1)?;
    is_job(&agent, &caller)?;
    is_not_job(&agent, &linked)?;
    // The folder with it.
    fs::rename(s.dir.join("bin"), s.dir.join("away"))?;
    logged(&agent, "bin/server is gone", 2)?;
    fs::rename(s.dir.join("away"), s.dir.join("bin"))?;
    logged(&agent, "bin/server is there now", 2)?;
    is_job(&agent, &caller)
}

/// A file that isn't there is nobody, which `run` says; when it comes, it counts.
fn a_file_that_appears_is_taken_up(s: &Sandbox) -> Result<()> {
    let file = s.dir.join("opt/later/server");
    let agent = start(s, &[&file], &[&s.caller("srv")])?;
    logged(&agent, "PRV410", 1)?;
    is_nobody(&agent, &s.caller("srv"))?;
    install(&file)?;
    logged(&agent, "later/server is there now: generation 2", 1)?;
    is_job(&agent, &s.caller("any").running(&file))?;
    is_nobody(&agent, &s.caller("srv"))?;
    // With a policy that names another file in the same folder.
    let second = s.dir.join("opt/later/second");
    set_policy(s, &[&second], "")?;
    ensure_eq!(agent.reload(&[])?.0, 0, "reload");
    is_not_job(&agent, &s.caller("any").running(&file))?;
    install(&second)?;
    logged(&agent, "later/second is there now", 1)?;
    is_job(&agent, &s.caller("any").running(&second))?;
    is_not_job(&agent, &s.caller("any").running(&file))
}

/// A mount and the renaming of a folder further up say nothing to who watches the
/// folder of the file.
fn what_nobody_tells_is_noticed(s: &Sandbox) -> Result<()> {
    let mut mounts = Mounts::new()?;
    let at = |name: &str| s.dir.join(name);
    install(&at("opt/bin/server"))?;
    install(&at("other/server"))?;
    let caller = s.caller("any").running(at("opt/bin/server"));
    let agent = start(s, &[&at("opt/bin/server")], &[&caller])?;
    is_job(&agent, &caller)?;
    mounts.add("bind", &at("other"), &at("opt/bin"), "")?;
    logged(&agent, "bin/server was replaced", 1)?;
    is_job(&agent, &caller)?;
    drop(mounts);
    logged(&agent, "bin/server was replaced", 2)?;
    is_job(&agent, &caller)?;
    fs::rename(at("opt"), at("away"))?;
    logged(&agent, "bin/server is gone", 1)?;
    logged(&agent, "runs no more", 1)?;
    fs::rename(at("away"), at("opt"))?;
    logged(&agent, "bin/server is there now", 1)?;
    is_job(&agent, &caller)
}

/// The tables' limit, each of them open; and one more, which is refused whole.
fn as_many_files_as_there_may_be(s: &Sandbox) -> Result<()> {
    const MOST: usize = 4096;
    let folder = s.dir.join("many");
    fs::create_dir(&folder)?;
    let mut files: Vec<PathBuf> = (0..MOST).map(|n| folder.join(format!("f{n}"))).collect();
    for file in &files[1..] {
        fs::write(file, "")?;
    }
    install(&files[0])?;
    fs::hard_link(&files[0], s.dir.join("server"))?;
    let caller = s.caller("any").running(s.dir.join("server"));
    let paths: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    let agent = start(s, &paths, &[&caller])?;
    is_job(&agent, &caller)?;
    // All in one go, and none of them runs.
    for file in &files[1..] {
        fs::remove_file(file)?;
    }
    logged(&agent, "is gone", MOST - 1)?;
    is_job(&agent, &caller)?;
    agent.terminate()?;

    files.push(folder.join("more"));
    for file in &files[1..] {
        fs::write(file, "")?;
    }
    let paths: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    set_policy(s, &paths, "")?;
    let refused = s.agent_again()?.finish()?.ended_with(1)?;
    ensure!(refused.stderr.contains("PRV409"), "{}", refused.stderr);
    let result = Binder::attempt(&s.caller("srv"), &tcp(4321))?;
    ensure_eq!(result, Err(refusal()), "what was in force still is");
    Ok(())
}

/// Releases beside each other and a link to the one that counts.
fn a_link_that_is_turned_leads_to_the_new_file(s: &Sandbox) -> Result<()> {
    let at = |name: &str| s.dir.join(name);
    install(&at("v1/server"))?;
    install(&at("v2/server"))?;
    symlink("v1", at("current"))?;
    let [first, second] = ["v1", "v2"].map(|v| s.caller(v).running(at(v).join("server")));
    let agent = start(s, &[&at("current/server")], &[&first, &second])?;
    is_job(&agent, &first)?;
    is_not_job(&agent, &second)?;
    symlink("v2", at("next"))?;
    fs::rename(at("next"), at("current"))?;
    logged(&agent, "current/server was replaced", 1)?;
    is_job(&agent, &second)?;
    logged(&agent, "runs no more", 1)?;
    is_not_job(&agent, &first)
}

/// The kernel runs the interpreter: a script can't be a job, whoever interprets it is.
fn a_script_is_its_interpreter(s: &Sandbox) -> Result<()> {
    let (interpreter, script) = (s.dir.join("interpreter"), s.dir.join("script"));
    install(&interpreter)?;
    fs::write(&script, format!("#!{} __bind\n", interpreter.display()))?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    let caller = s.caller("script").running(&script);
    let agent = start(s, &[&script], &[&caller])?;
    is_not_job(&agent, &caller)?;
    set_policy(s, &[&interpreter], "")?;
    ensure_eq!(agent.reload(&[])?.0, 0, "reload");
    is_job(&agent, &caller)
}

/// `PRT-39`: a user runs any program as it likes (LD_PRELOAD), so the file alone
/// takes the place of no capability; with the user it does.
fn the_file_alone_grants_nothing(s: &Sandbox) -> Result<()> {
    let (file, other) = (s.dir.join("server"), s.dir.join("other"));
    install(&file)?;
    install(&other)?;
    let root = s.caller("any").running(&file);
    let user = root.clone().user(NOBODY);
    let wrong = s.caller("any").running(&other).user(NOBODY);
    let agent = start(s, &[&file], &[&root, &user, &wrong])?;
    let cases = [
        Case::permitted(&root, tcp(443), LOW),
        Case::left_to_host(&user, tcp(443), LOW),
        Case::permitted(&user, tcp(4321), ENTRY),
        Case::other_job(&wrong, tcp(443), LOW),
    ];
    expect(&agent, PROFILE, QUIET, &cases)?;
    set_policy(s, &[&file], "user = \"65534\"\n")?;
    ensure_eq!(agent.reload(&[])?.0, 0, "reload");
    let cases = [
        Case::granted(&user, tcp(443), LOW),
        Case::other_job(&root, tcp(443), LOW),
        Case::other_job(&wrong, tcp(443), LOW),
        Case::other_job(&s.caller("any").user(NOBODY), tcp(4321), ENTRY),
        // The real user is nobody's, the effective one counts.
        Case::other_job(
            &s.caller("any").running(&file).users(NOBODY, 1, 0),
            tcp(4321),
            ENTRY,
        ),
    ];
    expect(&agent, PROFILE, QUIET, &cases)
}

/// What is in force is without an agent too; and the next one finds out which files
/// its predecessor knew that were replaced meanwhile and still run. `explain` says
/// the same of the processes.
fn a_restarted_agent_knows_what_still_runs(s: &Sandbox) -> Result<()> {
    let at = |name: &str| s.dir.join(name);
    let file = at("bin/server");
    install(&file)?;
    let running = |name: &str, file: &Path| s.caller(name).running(file);
    let new = running("new", &file);
    let (old, strange) = (at("old"), at("strange"));
    let (old, strange) = (running("old", &old), running("strange", &strange));
    let agent = start(s, &[&file], &[&new])?;
    agent.kill()?;
    let holder = Binder::start(&running("holder", &file), &[tcp(4321)])?;
    ensure_eq!(holder.results, [Ok(())], "without an agent");
    fs::hard_link(&file, at("old"))?;
    // Was at that path as well and runs, but nobody ever took it up.
    install(&file)?;
    fs::hard_link(&file, at("strange"))?;
    let stranger = Binder::start(&running("stranger", &file), &[tcp(443)])?;
    ensure_eq!(stranger.results, [Err(refusal())], "without an agent");
    install(&file)?;

    let agent = s.agent_again()?.start()?;
    let result = |caller| Binder::attempt(caller, &tcp(443));
    ensure_eq!(result(&new)?, Ok(()), "the new file");
    ensure_eq!(result(&old)?, Ok(()), "the former file while it runs");
    ensure_eq!(result(&strange)?, Err(refusal()), "a file never known");
    for (pid, code) in [(holder.pid, 0), (stranger.pid, 1)] {
        let pid = pid.to_string();
        s.portreeve(&["explain", "tcp/443", "--pid", &pid])?
            .ended_with(code)?;
    }
    drop(holder);
    logged(&agent, "runs no more", 1)?;
    is_job(&agent, &new)?;
    is_not_job(&agent, &old)
}
