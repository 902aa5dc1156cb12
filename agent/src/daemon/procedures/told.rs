//! What happens to procedures, in words.

use crate::autolog::machine::{Action, Cause, News};

/// What is done, and why.
pub(super) fn action_text(action: &Action) -> String {
    match action {
        Action::Start(cause) => match cause {
            Cause::Listed => "started".to_owned(),
            Cause::Ended => "started: what was active before has ended".to_owned(),
            Cause::Lingers => "started again".to_owned(),
            Cause::Missing(ports) => format!("started: nothing is at {}", ports.join(", ")),
            Cause::Asked => "started: somebody asked for it".to_owned(),
        },
        Action::Cancel(cause) => match cause {
            Cause::Missing(ports) => {
                format!("cancelled: it is active, but not at {}", ports.join(", "))
            }
            Cause::Asked => "cancelled: somebody asked for it".to_owned(),
            Cause::Listed | Cause::Ended | Cause::Lingers => {
                "cancelled: it was active before, and its time to end is over".to_owned()
            }
        },
        Action::Tell(news) => news_text(news),
    }
}

/// What is only told.
pub(super) fn news_text(news: &News) -> String {
    match news {
        News::Waits(lacking) => format!("not started yet: waits for {}", lacking.join(", ")),
        News::Drains(wait) => format!(
            "active already; it has {} minutes to end",
            wait.as_secs() / 60
        ),
        News::LetAlone => "active already, and let alone".to_owned(),
        News::EndedAtOnce => "has ended right after its start".to_owned(),
        News::GoesOn => "still active after it was cancelled".to_owned(),
        News::Fruitless(times, ports) => format!(
            "started {times} times in a row without opening {}; does it use another port than the reserved one?",
            ports.join(", ")
        ),
        News::Missing(ports) => {
            format!(
                "nothing is at {}, and nothing is started here",
                ports.join(", ")
            )
        }
        News::Back => "all its ports are there again".to_owned(),
        News::Unseen => "can't be looked at, so nothing is done".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// `ALG-26`: what was done, and for which reason.
    #[test]
    fn every_action_has_its_reason() {
        let ports = || vec!["tcp/21".to_owned(), "udp/69".to_owned()];
        for (action, text) in [
            (Action::Start(Cause::Listed), "started"),
            (
                Action::Cancel(Cause::Missing(ports())),
                "cancelled: it is active, but not at tcp/21, udp/69",
            ),
            (
                Action::Start(Cause::Missing(ports())),
                "started: nothing is at tcp/21, udp/69",
            ),
            (
                Action::Tell(News::Drains(Duration::from_secs(300))),
                "active already; it has 5 minutes to end",
            ),
            (
                Action::Tell(News::Waits(vec!["file /k".to_owned()])),
                "not started yet: waits for file /k",
            ),
        ] {
            assert_eq!(action_text(&action), text);
        }
    }
}
