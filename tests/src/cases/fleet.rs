//! Many nodes' status in one table.

use std::fs;

use anyhow::Result;

use crate::{
    ensure_eq,
    harness::{Binder, Sandbox, Settings, refusal, tcp},
    tests,
};

tests![what_nodes_say_is_compared];

const PROFILE: &str = "PORT 4321 TCP RIGHT\n";

/// What a real agent says of itself, before and after something is wrong with it.
fn what_nodes_say_is_compared(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, Settings::DEFAULT)?.start()?;
    let wrong = Binder::attempt(&s.caller("wrong"), &tcp(4321))?;
    ensure_eq!(wrong, Err(refusal()), "a stranger");
    let say = |node: &str| -> Result<String> {
        let said = s.portreeve(&["status", "--format", "json"])?.stdout;
        let file = s.write(&format!("{node}.json"), said)?;
        Ok(file.to_string_lossy().into_owned())
    };
    let files = [say("one")?, say("two")?];
    let compare = |files: &[String], code: i32| {
        let mut words = vec!["fleet", "--format", "json"];
        words.extend(files.iter().map(String::as_str));
        s.portreeve(&words)?.ended_with(code)?.json()
    };
    let found = compare(&files, 0)?;
    ensure_eq!(found["ok"], true, "{found}");
    ensure_eq!(found["policies"][0]["nodes"], 2, "{found}");
    ensure_eq!(found["policies"][0]["proven"], 2, "{found}");
    ensure_eq!(found["nodes"][0]["refused"], 1, "{found}");

    // Its file has changed, and another one's agent was killed.
    s.write("profile.tcpip", format!("{PROFILE}; changed\n"))?;
    let changed = say("three")?;
    agent.kill()?;
    let killed = say("four")?;
    let silent = s.write("five.json", "")?.to_string_lossy().into_owned();
    let all: Vec<String> = files.into_iter().chain([changed, killed, silent]).collect();
    let found = compare(&all, 1)?;
    let told = |node: &str| {
        let rows = found["nodes"].as_array().into_iter().flatten();
        let mut rows = rows.filter(|row| row["node"] == node);
        rows.next()
            .map_or_else(String::new, |row| row["problems"].to_string())
    };
    for (node, problems) in [
        ("one", "[]"),
        ("three", "[\"the files are not what is in force\"]"),
        ("four", "[\"no agent answers there\"]"),
        ("five", "[\"it said nothing\"]"),
    ] {
        ensure_eq!(told(node), problems, "{found}");
    }
    // What can't be read is no answer.
    fs::remove_file(&all[0])?;
    let words: Vec<&str> = ["fleet"]
        .into_iter()
        .chain(all.iter().map(String::as_str))
        .collect();
    s.portreeve(&words)?.ended_with(2)?;
    Ok(())
}
