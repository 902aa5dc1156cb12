//! Every statement that is no list of ports.

use super::{accepts, help, parse, printed, wrong};
use crate::diagnostics::{Code, Severity, json, render};
use crate::profile::ast::{Autolog, SaConfig, Statement};
use crate::profile::statements::{Kind, STATEMENTS};

fn canonical(text: &str) -> String {
    let parsed = parse(text);
    assert_eq!(wrong(&parsed), [], "{text}");
    parsed.profile.to_string().trim_end().to_owned()
}

/// `SYN-14`, `LOW-03`, `LOW-07`.
#[test]
fn protocol_configs() {
    assert_eq!(
        canonical(
            "TCPCONF TTLS EPHEMERALPORTS 2000 3000 RESTRICTL TCPSENDBFRSIZE 65535\nPORT 1 TCP A"
        ),
        "TCPCONFIG RESTRICTLOWPORTS EPHEMERALPORTS 2000 3000\nPORT\n  1 TCP A"
    );
    assert_eq!(
        canonical("UDPCONFIG UNRESTRICTL UDPQUEUELIMIT"),
        "UDPCONFIG UNRESTRICTLOWPORTS"
    );
    assert_eq!(
        canonical("TCPCONFIG RESTRICTLOWPORTS UDPCONFIG RESTRICTLOWPORTS"),
        "TCPCONFIG RESTRICTLOWPORTS\nUDPCONFIG RESTRICTLOWPORTS"
    );
    assert_eq!(
        canonical("GLOBALCONFIG ZIIP IPSECURITY EXPLICITBINDPORTRANGE 5000 1024 NOTCPIPSTATISTICS"),
        "GLOBALCONFIG EXPLICITBINDPORTRANGE 5000 1024"
    );
    for text in [
        "TCPCONFIG EPHEMERALPORTS 1023 2000",
        "TCPCONFIG EPHEMERALPORTS 3000 2000",
        "TCPCONFIG EPHEMERALPORTS 3000 65536",
        "GLOBALCONFIG EXPLICITBINDPORTRANGE 65535 2",
    ] {
        assert_eq!(wrong(&parse(text)), [("PRV105", 1)], "{text}");
    }
    assert_eq!(wrong(&parse("TCPCONFIG EPHEMERALPORTS")), [("PRV104", 1)]);
}

/// What a config statement doesn't know is stepped over, but not what might be
/// a misspelt rule or statement.
#[test]
fn misspelt_rules_in_configs() {
    for text in [
        "TCPCONFIG RESTRCTLOWPORTS",
        "UDPCONFIG TTLS RESTRICTLOWPORST",
        "GLOBALCONFIG RESTRICTL",
    ] {
        assert_eq!(wrong(&parse(text)), [("PRV121", 1)], "{text}");
    }
    assert_eq!(
        help("TCPCONFIG RESTRCTLOWPORTS"),
        "did you mean `RESTRICTLOWPORTS`?"
    );
    for text in [
        "TCPCONFIG TTLS UDPCONFG RESTRICTL",
        "TCPCONFIG TTLS\nPROT 1 TCP A",
    ] {
        assert_eq!(wrong(&parse(text))[0].0, "PRV103", "{text}");
    }
    // No operand of z/OS is taken for a misspelling.
    accepts(
        "TCPCONFIG DELAYACKS NODELAYACKS FINWAIT2TIME 60 INTERVAL 120 SENDGARBAGE FALSE TCPMAXRCVBUFRSIZE 1
          NOTTLS SELECTIVEACK TCPRCVBUFRSIZE 1 TCPTIMESTAMP CONNECTTIMEOUT 1 EPHEMERALPORTS 1024 65535
          FRRTHRESHOLD 3 KEEPALIVEPROBES 1 NAGLE NONAGLE QUEUEDRTT 1 RETRANSMITATTEMPTS 1 TIMEWAITINTERVAL 1
         UDPCONFIG NOUDPCHKSUM
          UDPRCVBUFRSIZE 1 UDPSENDBFRSIZE 1
         IPCONFIG ARPTO 1200 SOURCEVIPA DATAGRAMFWD FWDMULTIPATH PERPACKET PATHMTUDISCOVERY TTL 60
          STOPONCLAWERROR DYNAMICXCF 192.0.2.1 255.255.255.0 1 IQDIOROUTING QDIOACCELERATOR
          SYSPLEXROUTING TCPSTACKSOURCEVIPA 192.0.2.2 REASSEMBLYTIMEOUT 60 SEGMENTATIONOFFLOAD
          MULTIPATH PERCONNECTION IGNOREREDIRECT DEVRETRYDURATION 90 IPSECURITY VARSUBNETTING
         GLOBALCONFIG TCPIPSTATISTICS ECSALIMIT 10M
          POOLLIMIT 1M XCFGRPID 2 SYSPLEXMONITOR TIMERSECS 60 RECOVERY DELAYJOIN MONINTERFACE DYNROUTE AUTOREJOIN
          SMCR PFID 1 PORTNUM 1 MTU 1024 SMCD PFID 3 AUTOIQDX WLMPRIORITYQ IOPRI1 0 AUTOSMC ZERT",
        &[],
    );
}

/// `LOW-10`.
#[test]
fn low_ports_on_ipconfig_do_nothing() {
    let parsed = parse("IPCONFIG RESTRICTLOWPORTS IPSECURITY");
    assert_eq!(wrong(&parsed), [("PRV214", 1)]);
    assert!(!parsed.diagnostics.has_errors());
    assert_eq!(parsed.profile.to_string(), "IPCONFIG IPSECURITY\n");
}

fn saconfig(text: &str) -> SaConfig {
    match parse(text).profile.statements.into_iter().next() {
        Some(Statement::SaConfig(config)) => config,
        other => panic!("{other:?}"),
    }
}

/// `SAC-02`, `SAC-03`, `SAC-08`.
#[test]
fn saconfig_operands() {
    let text = "SACONF ENABL AGENT 1161 OSAEN OSASF 760 SACACHET 60 SETSDIS COMMUN pUbLiC";
    assert_eq!(
        canonical(text),
        "SACONFIG ENABLED AGENT 1161 OSAENABLED OSASF 760 SACACHETIME 60 SETSDISABLED"
    );
    assert!(saconfig(text).community_given);
    assert!(!saconfig("SACONFIG DISABLED").community_given);
    assert_eq!(wrong(&parse("SACONFIG DISABLE\nPORT 1 TCP A")), []);
    assert_eq!(wrong(&parse("SACONFIG AGENT 0")), [("PRV105", 1)]);
}

/// `SAC-04`, `SAC-06`: whatever is wrong around it, the community is not shown.
#[test]
fn the_community_is_never_shown() {
    let long = "SeCrEt".repeat(6);
    for text in [
        "SACONFIG COMMUNITY SeCrEt AGENT x",
        "SACONFIG COMMUNITY SeCrEt;2 AGENT 161",
        "SACONFIG COMUNITY SeCrEt",
        "SACONFIG AGENT 161 SeCrEt",
        "SACONFIG COMMUNITY a SeCrEt",
        "SACONFIG COMMUNITY \u{1b}SeCrEt",
        &format!("SACONFIG COMMUNITY {long}"),
    ] {
        let parsed = parse(text);
        assert_eq!(wrong(&parsed).len(), 1, "{text}");
        let shown = render::all(&parsed.diagnostics, &parsed.sources, false);
        let json = serde_json::to_string(&json::all(&parsed.diagnostics, &parsed.sources)).unwrap();
        let all = format!("{shown}{json}{}{:?}", parsed.profile, parsed.profile);
        assert!(
            !all.to_ascii_uppercase().contains("SECRET"),
            "{text}: {all}"
        );
    }
}

fn autolog(text: &str) -> Autolog {
    match parse(text).profile.statements.into_iter().next() {
        Some(Statement::Autolog(autolog)) => autolog,
        other => panic!("{other:?}"),
    }
}

/// `SYN-10`.
#[test]
fn autolog_blocks() {
    let text = "AUTOLOG 5
        ftpd JOBNAME ftpd1 ; the server
        SMTP PARMSTRING 'Keep Case; and blanks' DELAYSTART TTLS JOBNAME SMTP1
        A DELAYSTART B DELAYSTART DVIPA TTLS PARMSTRING word
        ENDAUTOLOG PORT 21 TCP FTPD1";
    assert_eq!(
        canonical(text),
        "AUTOLOG 5
  FTPD JOBNAME FTPD1
  SMTP JOBNAME SMTP1 PARMSTRING \"Keep Case; and blanks\" DELAYSTART TTLS
  A DELAYSTART DVIPA
  B PARMSTRING \"word\" DELAYSTART DVIPA TTLS
ENDAUTOLOG
PORT
  21 TCP FTPD1"
    );
    assert_eq!(autolog("AUTOLOG\nENDAUTOLOG").wait, None);
    assert_eq!(autolog("AUTOLOG 0 A ENDAUTOLOG").wait, Some(0));
    for (text, code) in [
        ("AUTOLOG 31 A ENDAUTOLOG", "PRV105"),
        ("AUTOLOG 5\n A*\n ENDAUTOLOG", "PRV107"),
        ("AUTOLOG 5\n A JOBNAME *\n ENDAUTOLOG", "PRV107"),
        ("AUTOLOG 5\n A PARMSTRING \"open\n ENDAUTOLOG", "PRV119"),
    ] {
        assert_eq!(wrong(&parse(text))[0].0, code, "{text}");
    }
    let long = format!(
        "AUTOLOG 5\n A PARMSTRING '{}'\n ENDAUTOLOG",
        "x".repeat(116)
    );
    assert_eq!(wrong(&parse(&long)), [("PRV119", 2)]);
}

/// `SYN-11`.
#[test]
fn a_missing_end_swallows_the_rest() {
    let parsed = parse("PORT 1 TCP A\nAUTOLOG 5\n FTPD\nPORT 2 TCP B\n 3x TCP C\n");
    assert_eq!(wrong(&parsed), [("PRV113", 2)]);
    assert_eq!(printed(&parsed), ["1 TCP A"]);
    let diagnostic = parsed.diagnostics.iter().next().unwrap();
    let related = diagnostic.related.as_ref().unwrap();
    assert_eq!(parsed.sources.line(related.span), 4);
    assert_eq!(related.label, "`PORT` is not processed");
    assert_eq!(wrong(&parse("ENDAUTOLOG")), [("PRV114", 1)]);
}

/// Blocks have words of their own that must not be taken for entries.
#[test]
fn every_block_is_stepped_over() {
    for statement in STATEMENTS {
        let Kind::Block(end) = statement.kind else {
            continue;
        };
        let name = statement.name;
        let body = "PORT 23\n 21 TCP X\nPROT 1 TCP A RESTRICTLOWPORTS";
        let text = format!("{name} A\n{body}\n {}\nPORT 1 TCP A", end.name);
        accepts(&text, &["1 TCP A"]);
        let parsed = parse(&format!("PORT 1 TCP A\n{name} A\n{body}\n"));
        assert_eq!(wrong(&parsed), [("PRV113", 2)], "{name}");
        assert_eq!(printed(&parsed), ["1 TCP A"]);
        assert_eq!(wrong(&parse(end.name)), [("PRV114", 1)], "{name}");
    }
}

#[test]
fn other_statements_are_stepped_over_with_a_word() {
    for statement in STATEMENTS.iter().filter(|statement| !statement.is_ours()) {
        if let Kind::Block(_) = statement.kind {
            continue;
        }
        let text = format!("{} OPERAND\nPORT 1 TCP A", statement.name);
        accepts(&text, &["1 TCP A"]);
        let parsed = parse(&text);
        let info = parsed.diagnostics.iter().next().unwrap();
        assert_eq!(
            (info.code, info.severity),
            (Code::SteppedOver, Severity::Info)
        );
        assert!(info.message.starts_with(statement.name));
    }
    accepts(
        "DEV OSA1 MPCIPA
         LINK OSAL IPAQENET OSA1
         HOME
          192.0.2.1 OSAL
          192.0.2.2 PORT
         INTERFACE OSAQ DEFINE IPAQENET
          PORTNAME OSAP
          IPADDR 192.0.2.3/24
         PKTTRACE ON PROT TCP SRCPORT 21 LINKNAME OSAL
         SMFCONFIG TYPE119 TCPINIT PORTSTATISTICS
         START OSA1
         START OSAQ PORT 1 TCP A",
        &["1 TCP A"],
    );
}

/// A misspelt rule can't hide in a statement that is stepped over.
#[test]
fn rules_do_not_vanish_in_other_statements() {
    for (rule, code) in [
        ("PROT 22 TCP SSHD", "PRV121"),
        ("XYZZY 22 TCP SSHD", "PRV121"),
        ("22 TCP SSHD", "PRV121"),
        ("UNRSV TCP * DENY", "PRV121"),
        ("TCPCNFIG RESTRICTLOWPORTS", "PRV121"),
        ("INCLDUE more.tcpip", "PRV121"),
        ("ENDAUTOLOG", "PRV114"),
    ] {
        let parsed = parse(&format!(
            "HOME 192.0.2.1 L1\n192.0.2.2 L2\n{rule}\nPORT 1 TCP A"
        ));
        assert_eq!(wrong(&parsed), [(code, 3)], "{rule}");
        assert_eq!(printed(&parsed), ["1 TCP A"]);
    }
    // A statement with a fixed number of operands is over behind them.
    assert_eq!(wrong(&parse("START OSA1\nXYZZY 1")), [("PRV103", 2)]);
    // A misspelt statement ends at the next, even if that is misspelt too.
    let parsed = parse("TCPCNFIG RESTRICTL\nUDPCNFIG RESTRICTL\nWHAT EVER\nPORT 1 TCP A");
    assert_eq!(wrong(&parsed), [("PRV103", 1), ("PRV103", 2)]);
    assert_eq!(printed(&parsed), ["1 TCP A"]);
}
