//! What can go wrong before anything is enforced: one sentence that says what it is
//! and what to do, the exit status, and nothing left behind.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::Shutdown,
    os::unix::{
        fs::PermissionsExt as _,
        net::{UnixListener, UnixStream},
    },
    path::PathBuf,
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use nix::{sys::stat::Mode, unistd::mkfifo};
use serde_json::{Value, json};

use crate::{
    ensure_eq,
    harness::{
        Case, NOBODY, Sandbox, Settings,
        agent::Start,
        command::{self, Finished},
        control,
        expect::expect,
        host,
        pace::patience,
        tcp,
    },
    tests,
};

tests![
    files_that_are_no_files,
    files_that_others_may_write,
    profiles_of_rubbish,
    configs_of_rubbish,
    wrong_usage,
    without_root,
    without_cgroup2,
    with_a_cgroup_that_is_none,
    without_bpffs,
    without_kernel_types,
    a_socket_that_can_not_be_made,
    a_socket_left_behind,
    requests_of_rubbish,
    only_root_may_ask,
    checks_need_no_root,
];

const QUIET: Settings = Settings::DEFAULT;
const PROFILE: &str = "PORT\n 21 TCP FTPD1\n";

/// One sentence, no panic, and nothing of an agent left.
fn complaint(s: &Sandbox, finished: Finished, code: i32, words: &[&str]) -> Result<()> {
    let finished = finished.ended_with(code)?;
    ensure!(
        finished.stderr.starts_with("portreeve: ") && finished.stderr.lines().count() == 1,
        "not one sentence: {}",
        finished.stderr
    );
    says(s, &finished, words)
}

/// These words, no panic, and nothing of an agent left.
fn says(s: &Sandbox, finished: &Finished, words: &[&str]) -> Result<()> {
    ensure!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
    for word in words {
        ensure!(
            finished.stderr.contains(word),
            "no {word:?} in {}",
            finished.stderr
        );
    }
    ensure!(!s.is_pinned(), "pins stay");
    ensure!(!s.socket.exists(), "the socket stays");
    Ok(())
}

/// `run` and `check` on the same files.
fn run_and_check(s: &Sandbox) -> Result<[Finished; 2]> {
    let run = Start::new(s)?.finish()?;
    let mut check = Command::new(host::agent()?);
    check.env_clear().arg("check").arg(s.profile());
    check.arg("--config").arg(s.config());
    Ok([run, command::finish(&mut check)?])
}

/// Missing, a folder, a device, a FIFO that nobody writes to: exit status 2.
fn files_that_are_no_files(s: &Sandbox) -> Result<()> {
    type Spoil = fn(&std::path::Path) -> Result<()>;
    let spoil: [(&str, Spoil); 4] = [
        ("does not exist", |_| Ok(())),
        ("director", |path| Ok(fs::create_dir(path)?)),
        ("regular file", |path| {
            Ok(std::os::unix::fs::symlink("/dev/null", path)?)
        }),
        ("regular file", |path| Ok(mkfifo(path, Mode::S_IRUSR)?)),
    ];
    for (word, spoil) in spoil {
        for path in [s.profile(), s.config()] {
            s.set_policy(PROFILE, QUIET)?;
            fs::remove_file(&path)?;
            spoil(&path)?;
            let name = path.display().to_string();
            for finished in run_and_check(s)? {
                complaint(s, finished, 2, &[&name, word]).with_context(|| word.to_owned())?;
            }
            if path.is_dir() {
                fs::remove_dir(&path)?;
            } else {
                let _ = fs::remove_file(&path);
            }
        }
    }
    Ok(())
}

/// Whoever can write a file, or swap it, decides who may bind: `run` refuses, while
/// `check` only looks.
fn files_that_others_may_write(s: &Sandbox) -> Result<()> {
    let mode = |path: &PathBuf, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    for path in [s.profile(), s.config()] {
        for bits in [0o664, 0o646, 0o666] {
            s.set_policy(PROFILE, QUIET)?;
            mode(&path, bits)?;
            let [run, check] = run_and_check(s)?;
            let name = path.display().to_string();
            complaint(s, run, 2, &[&name, "write", "0644"])?;
            check.ended_with(0)?;
        }
        s.set_policy(PROFILE, QUIET)?;
        std::os::unix::fs::chown(&path, Some(NOBODY), None)?;
        let [run, check] = run_and_check(s)?;
        complaint(s, run, 2, &["65534"])?;
        check.ended_with(0)?;
        fs::remove_file(&path)?;
    }
    s.set_policy(PROFILE, QUIET)?;
    mode(&s.dir, 0o775)?;
    let [run, check] = run_and_check(s)?;
    complaint(s, run, 2, &["folder", "0755"])?;
    check.ended_with(0)?;
    mode(&s.dir, 0o755)?;
    Ok(())
}

/// Whatever a profile holds, it is an error with a place, not a panic.
fn profiles_of_rubbish(s: &Sandbox) -> Result<()> {
    let long_line = format!("PORT\n 21 TCP {}\n", "X".repeat(200_000));
    let many = "PORT 21 TCP ".repeat(20_000);
    let nuls = b"PORT\n 21 TCP FT\0PD1\n\0\0\0\n".to_vec();
    let not_utf8 = b"PORT\n 21 TCP \xff\xfe\xc3\x28\n".to_vec();
    let binary: Vec<u8> = (0..200_000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let contents: [(&str, Vec<u8>); 6] = [
        ("a long line", long_line.into_bytes()),
        ("no end", many.into_bytes()),
        ("NULs", nuls),
        ("not UTF-8", not_utf8),
        ("binary", binary),
        ("a typo", b"PROT\n 21 TCP FTPD1\n".to_vec()),
    ];
    for (what, content) in contents {
        s.set_policy(PROFILE, QUIET)?;
        s.write("profile.tcpip", content)?;
        for finished in run_and_check(s)? {
            let finished = finished.ended_with(1).context(what)?;
            says(s, &finished, &["error"]).context(what)?;
            ensure!(
                finished.stderr.len() < 200_000,
                "{what}: {} bytes of complaint",
                finished.stderr.len()
            );
        }
    }
    Ok(())
}

/// The same for the config.
fn configs_of_rubbish(s: &Sandbox) -> Result<()> {
    s.set_policy(PROFILE, QUIET)?;
    for (content, word) in [
        ("moode = \"audit\"\n", "moode"),
        ("mode = \"audt\"\n", "audt"),
        ("[grant]\nrequire = 1\n", "require"),
        ("[scope]\nnetns = \"own\"\nnetns = \"all\"\n", "netns"),
        ("[grant\n", ""),
        ("mode = \"enforce\0\"\n", ""),
    ] {
        s.write("portreeve.toml", content)?;
        for finished in run_and_check(s)? {
            let finished = finished.ended_with(1).context(content)?;
            says(s, &finished, &["error", word, "portreeve.toml"]).context(content)?;
        }
    }
    s.write("portreeve.toml", b"mode = \"\xff\"\n")?;
    for finished in run_and_check(s)? {
        complaint(s, finished, 2, &["UTF-8"])?;
    }
    Ok(())
}

/// Wrong usage is exit status 2.
fn wrong_usage(s: &Sandbox) -> Result<()> {
    for arguments in [
        &["rnu"][..],
        &["run", "--adit"],
        &["explain", "tcp/65536", "--job", "A"],
        &["explain", "sctp/21", "--job", "A"],
        &["explain", "tcp/21"],
        &["ports", "21"],
        &["status", "--format", "xml"],
    ] {
        let finished = s.portreeve(arguments)?.ended_with(2)?;
        says(s, &finished, &[])?;
        ensure!(!finished.stderr.is_empty(), "{arguments:?}: no word");
    }
    Ok(())
}

/// Every verb that needs root says so.
fn without_root(s: &Sandbox) -> Result<()> {
    let mut start = s.agent(PROFILE, QUIET)?;
    start.launch.uid = Some(NOBODY);
    complaint(s, start.finish()?, 2, &["root", "sudo"])?;
    for verb in ["status", "detach"] {
        let mut launch = start.launch.clone();
        launch.arguments = vec![verb.to_owned()];
        launch.arguments.extend(s.places());
        if verb == "detach" {
            launch.arguments.push("--yes".into());
        }
        let finished = command::finish(&mut launch.command()?)?.ended_with(2)?;
        says(s, &finished, &["root"]).context(verb)?;
    }
    Ok(())
}

/// No cgroup v2 is mounted anywhere.
fn without_cgroup2(s: &Sandbox) -> Result<()> {
    let mut start = s.agent(PROFILE, QUIET)?.without("--cgroup");
    start.launch.unmounted = vec!["cgroup2".into()];
    complaint(s, start.finish()?, 2, &["cgroup v2", "mount"])
}

/// `--cgroup` names what isn't one.
fn with_a_cgroup_that_is_none(s: &Sandbox) -> Result<()> {
    let start =
        |path: &str| Ok::<_, anyhow::Error>(s.agent(PROFILE, QUIET)?.option("--cgroup", path));
    let folder = s.dir.display().to_string();
    complaint(s, start(&folder)?.finish()?, 2, &[&folder, "cgroup"])?;
    let nothing = s.cgroup.join("nothing").display().to_string();
    complaint(s, start(&nothing)?.finish()?, 2, &[&nothing])?;
    let file = s.cgroup.join("cgroup.procs").display().to_string();
    complaint(s, start(&file)?.finish()?, 2, &[&file, "cgroup"])
}

/// The pins would not be on a BPF file system.
fn without_bpffs(s: &Sandbox) -> Result<()> {
    let mut start = s.agent(PROFILE, QUIET)?;
    start.launch.unmounted = vec!["bpf".into()];
    complaint(s, start.finish()?, 2, &["BPF file system", "mount"])?;
    let elsewhere = s.dir.join("pins");
    let start = s
        .agent(PROFILE, QUIET)?
        .option("--bpffs", &elsewhere.display().to_string());
    complaint(s, start.finish()?, 2, &["BPF file system", "--bpffs"])?;
    ensure!(!elsewhere.exists(), "it was made all the same");
    Ok(())
}

/// A kernel without BTF, which the programs need to find their way.
fn without_kernel_types(s: &Sandbox) -> Result<()> {
    let mut start = s.agent(PROFILE, QUIET)?;
    start.launch.hidden = vec!["/sys/kernel/btf".into()];
    complaint(s, start.finish()?, 1, &["BTF"])
}

/// Something else stands where the socket should be; what was attached is gone.
fn a_socket_that_can_not_be_made(s: &Sandbox) -> Result<()> {
    let file = s.write("in-the-way", "")?.display().to_string();
    let start = s.agent(PROFILE, QUIET)?.option("--socket", &file);
    complaint(s, start.finish()?, 2, &[&file, "--socket"])?;
    let below = format!("{file}/control.sock");
    let start = s.agent(PROFILE, QUIET)?.option("--socket", &below);
    complaint(s, start.finish()?, 2, &[&file])
}

/// What a killed agent left is no obstacle.
fn a_socket_left_behind(s: &Sandbox) -> Result<()> {
    drop(UnixListener::bind(&s.socket)?);
    ensure!(s.socket.exists(), "no socket is left");
    let agent = s.agent(PROFILE, QUIET)?.start()?;
    let mode = fs::metadata(&s.socket)?.permissions().mode() & 0o7777;
    ensure_eq!(mode, 0o600, "mode of the socket");
    agent.status().map(drop)
}

/// The control socket takes anything and falls for nothing.
fn requests_of_rubbish(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, QUIET)?.start()?;
    let generation = agent.status()?["generation"].clone();
    let deep = "[".repeat(60_000);
    let lines = [
        &b"\n"[..],
        b"{}\n",
        b"null\n",
        b"{\"protocol\":1}\n",
        b"{\"protocol\":-1,\"request\":{\"verb\":\"status\"}}\n",
        b"{\"protocol\":1,\"request\":\"status\"}\n",
        b"\xff\xfe\n",
        b"\0\0\0\n",
    ];
    let requests = [
        json!({"verb": "reboot"}),
        json!({"verb": "reload"}),
        json!({"verb": "status", "more": 1}),
        json!({"verb": "explain", "question": {"protocol": "", "port": 0, "name": null}}),
    ];
    let mut all: Vec<Vec<u8>> = lines.map(<[u8]>::to_vec).into();
    all.extend(requests.iter().map(control::line));
    all.push(format!("{deep}\n").into_bytes());
    all.push(format!("{{\"protocol\":1,\"request\":{deep}\n").into_bytes());
    // No line at all, more than is read.
    all.push(vec![b'x'; 1_000_000]);
    all.push(vec![0xff; 70_000]);
    for request in all {
        let reply = control::raw(&s.socket, &request)?;
        let reply: Value = serde_json::from_str(&reply).context(reply)?;
        let words = reply["failed"].as_str().unwrap_or_default();
        let shown = String::from_utf8_lossy(&request[..request.len().min(80)]).into_owned();
        ensure!(words.len() > 20, "{reply} to {shown}");
        ensure_eq!(reply["protocol"], 1, "{shown}");
    }
    // Half a request, and its end.
    for half in [&b"{\"protocol\":1,\"req"[..], b""] {
        let mut stream = UnixStream::connect(&s.socket)?;
        stream.set_read_timeout(Some(patience()))?;
        stream.write_all(half)?;
        stream.shutdown(Shutdown::Write)?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        ensure_eq!(
            reply.contains("one line of JSON"),
            !half.is_empty(),
            "{reply}"
        );
    }
    ensure_eq!(agent.status()?["generation"], generation, "generation");
    ensure!(!agent.log().contains("panicked"), "{}", agent.log());
    let wrong = Case::other_job(&s.caller("wrong"), tcp(21), "21 TCP FTPD1");
    expect(&agent, PROFILE, QUIET, &[wrong])?;
    Ok(())
}

/// A user can't even connect; should the socket's mode be changed, it is still asked
/// who is there.
fn only_root_may_ask(s: &Sandbox) -> Result<()> {
    let start = s.agent(PROFILE, QUIET)?;
    let mut client = start.launch.clone();
    client.uid = Some(NOBODY);
    let agent = start.start()?;
    for (mode, words) in [(0o600, "root"), (0o666, "only root")] {
        fs::set_permissions(&s.socket, fs::Permissions::from_mode(mode))?;
        for verb in [
            &["reload"][..],
            &["detach", "--yes"],
            &["status"],
            &["events"],
        ] {
            let mut launch = client.clone();
            launch.arguments = verb.iter().map(|word| (*word).to_owned()).collect();
            launch.arguments.extend(s.places());
            let finished = command::finish(&mut launch.command()?)?;
            ensure!(
                finished.code.is_some_and(|code| code != 0) && finished.stdout.is_empty(),
                "{verb:?} was answered: {finished:?}"
            );
            let is_told = ["Permission denied", words]
                .iter()
                .any(|words| finished.stderr.contains(words));
            ensure!(is_told, "{verb:?}: {finished:?}");
        }
    }
    ensure_eq!(agent.status()?["generation"], 1, "generation");
    Ok(())
}

/// `check` and an offline `explain` work for everybody.
fn checks_need_no_root(s: &Sandbox) -> Result<()> {
    let start = s.agent(PROFILE, QUIET)?;
    let profile = s.profile().display().to_string();
    let config = s.config().display().to_string();
    for (arguments, code) in [
        (vec!["check", &profile, "--config", &config], 0),
        (
            vec![
                "explain",
                "tcp/21",
                "--job",
                "FTPD1",
                "--profile",
                &profile,
                "--config",
                &config,
            ],
            0,
        ),
        (
            vec![
                "explain",
                "tcp/21",
                "--job",
                "SSHD",
                "--profile",
                &profile,
                "--config",
                &config,
            ],
            1,
        ),
    ] {
        let mut launch = start.launch.clone();
        launch.uid = Some(NOBODY);
        launch.arguments = arguments.into_iter().map(str::to_owned).collect();
        command::finish(&mut launch.command()?)?.ended_with(code)?;
    }
    Ok(())
}
