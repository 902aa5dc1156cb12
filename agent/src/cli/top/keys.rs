//! What keys do.

use jiff::Zoned;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::state::State;

/// Callers that a page key passes.
const PAGE: isize = 10;

/// What becomes of the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// It goes on.
    Show,
    /// It ends.
    Quit,
}

impl State {
    /// Does what `key` is for, which was pressed `now`.
    pub fn press(&mut self, key: KeyEvent, now: &Zoned) -> Wish {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            // The terminal makes no signal of it while the view has it.
            return match key.code {
                KeyCode::Char('c') => Wish::Quit,
                _ => Wish::Show,
            };
        }
        if self.help {
            self.help = false;
            return match key.code {
                KeyCode::Char('q') => Wish::Quit,
                _ => Wish::Show,
            };
        }
        if self.is_typing {
            self.letter(key.code);
            return Wish::Show;
        }
        match key.code {
            KeyCode::Char('q') => return Wish::Quit,
            KeyCode::Char('p' | ' ') => {
                self.paused = match self.paused.take() {
                    Some(_) => None,
                    None => Some(Box::new((self.live.clone(), now.clone()))),
                }
            }
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Char('?' | 'h') => self.help = true,
            KeyCode::Esc => {
                self.filter.clear();
                self.chosen = None;
            }
            KeyCode::Up | KeyCode::Char('k') => self.choose(-1, now),
            KeyCode::Down | KeyCode::Char('j') => self.choose(1, now),
            KeyCode::PageUp => self.choose(-PAGE, now),
            KeyCode::PageDown => self.choose(PAGE, now),
            KeyCode::Home => self.choose(isize::MIN, now),
            KeyCode::End => self.choose(isize::MAX, now),
            _ => {}
        }
        Wish::Show
    }

    fn letter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(letter) => self.filter.extend(letter.to_lowercase()),
            _ => {}
        }
    }

    /// Chooses the caller that stands `by` below the one that is chosen now.
    fn choose(&mut self, by: isize, now: &Zoned) {
        let rows = self.rows(now);
        let place = |chosen| rows.iter().position(|(caller, _)| *caller == chosen);
        let next = match self.chosen.as_ref().and_then(place) {
            Some(place) => place.saturating_add_signed(by),
            None if by == isize::MAX => usize::MAX,
            None => 0,
        };
        let next = rows.get(next.min(rows.len().saturating_sub(1)));
        self.chosen = next.map(|(caller, _)| (*caller).clone());
    }
}
