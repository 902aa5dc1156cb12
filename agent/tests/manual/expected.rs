//! The lines of `verdicts` and `diagnostics` blocks.
//!
//! ```text
//! tcp/21 FTPD1 user=ftp addr=:: listen -> allow permitted line 2 grant
//! 3 error PRV203
//! web.tcpip:3 warning PRV206
//! ```

use std::path::PathBuf;

use portreeve::policy::explain::{Answer, Question};

use crate::accounts;

/// Who asks when nothing is said.
const NOBODY_SPECIAL: u32 = 1000;

/// One line of a `verdicts` block.
pub struct Verdict {
    /// What is asked.
    pub question: Question,
    wanted: Vec<String>,
}

/// The verdict on `line`, or what is wrong with how it is written.
pub fn verdict(line: &str) -> Result<Verdict, String> {
    let (asked, wanted) = line.split_once("->").ok_or("`->` is missing")?;
    let mut words = asked.split_whitespace();
    let target = words.next().ok_or("the port is missing")?;
    let (protocol, port) = target.split_once('/').ok_or("not like tcp/21")?;
    let mut question = Question {
        protocol: protocol.to_owned(),
        port: port.parse().map_err(|_| format!("{port} is no port"))?,
        uid: NOBODY_SPECIAL,
        ..Question::default()
    };
    for word in words {
        match word.split_once('=') {
            None if word == "listen" => question.listen = true,
            None if word == "capable" => question.privileged = true,
            None => question.jobs.push(word.to_owned()),
            Some(("user", name)) => {
                question.uid = accounts::user(name).ok_or_else(|| format!("no user {name}"))?;
                question.privileged |= question.uid == 0;
            }
            Some(("group", name)) => {
                let group = accounts::group(name).ok_or_else(|| format!("no group {name}"))?;
                question.groups.push(group);
            }
            Some(("comm", name)) => question.comm = Some(name.to_owned()),
            Some(("cgroup", path)) => question.cgroup = Some(path.to_owned()),
            Some(("exe", path)) => question.exe = Some(PathBuf::from(path)),
            Some(("addr", text)) => {
                let address = text.parse().map_err(|_| format!("{text} is no address"))?;
                question.address = Some(address);
            }
            Some(_) => return Err(format!("{word} is not understood")),
        }
    }
    let wanted: Vec<String> = wanted.split_whitespace().map(str::to_owned).collect();
    if wanted.len() < 2 {
        return Err("verdict and reason are missing".to_owned());
    }
    Ok(Verdict { question, wanted })
}

impl Verdict {
    /// Compares what is wanted with `answer`; `Err` says what differs.
    pub fn compare(&self, answer: &Answer) -> Result<(), String> {
        let mut words = self.wanted.iter().map(String::as_str);
        let verdict = words.next().unwrap_or_default();
        let reason = words.next().unwrap_or_default();
        if (verdict, reason) != (&answer.verdict, &answer.reason) {
            return Err(format!("it is {} {}", answer.verdict, answer.reason));
        }
        // The kernel's own loops go on for nothing else.
        let refused = if self.question.jobs == ["KERNEL"] {
            "EADDRINUSE"
        } else {
            "EACCES"
        };
        let audited = self.wanted.iter().any(|word| word == "audit");
        let errno = (verdict == "deny" && !audited).then_some(refused);
        if answer.errno.as_deref() != errno {
            return Err(format!("the errno is {:?}", answer.errno));
        }
        while let Some(word) = words.next() {
            let holds = match word {
                "line" => {
                    let line = words.next().and_then(|line| line.parse::<u32>().ok());
                    line.is_some() && answer.entry.as_ref().map(|entry| entry.line) == line
                }
                "audit" => answer.audit,
                "grant" => answer.grant,
                "no-grant" => !answer.grant,
                "host-rule" => answer.host_rule,
                "no-host-rule" => !answer.host_rule,
                "shared" | "single" => answer.sharing.as_deref() == Some(word),
                _ => match word.split_once('=') {
                    Some(("address", address)) => answer.address.as_deref() == Some(address),
                    _ => return Err(format!("{word} is not understood")),
                },
            };
            if !holds {
                return Err(format!("{word} does not hold: {answer:?}"));
            }
        }
        Ok(())
    }
}

/// One line of a `diagnostics` block, in a form that can be compared.
pub fn diagnostic(line: &str) -> Result<String, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [place, severity, code] = words[..] else {
        return Err("it is not `LINE SEVERITY CODE`".to_owned());
    };
    Ok(format!("{place} {severity} {code}"))
}
