//! Rounds: each measures everything once, in an order of its own, so that what the
//! machine does meanwhile falls on all alike.

use std::{collections::HashMap, time::Instant};

use anyhow::{Context as _, Result};
use portreeve_bench::{Case, Row, Spread, Unit};

use super::Progress;
use crate::soak::random::Random;

/// Something that is measured once in each round.
pub struct Contender<'a> {
    /// What it is called in the results.
    pub name: String,
    /// The contender that its ratio is to, by name.
    pub baseline: Option<&'static str>,
    /// What the ratio is to be at most.
    pub target: Option<f64>,
    /// A second row of it, with another baseline.
    pub also: Option<Also>,
    /// Measures it once.
    pub measure: Box<dyn FnMut() -> Result<f64> + 'a>,
}

/// Another look at what was measured.
pub struct Also {
    /// What it is called in the results.
    pub name: String,
    /// The contender that the ratio is to, by name.
    pub baseline: &'static str,
    /// What the ratio is to be at most.
    pub target: f64,
}

/// Measures all `contenders` in `rounds` rounds.
pub fn compete(
    case: Case,
    unit: Unit,
    mut contenders: Vec<Contender<'_>>,
    rounds: u32,
    progress: &Progress,
) -> Result<Vec<Row>> {
    let mut random = Random::new(Random::seed());
    let mut values = vec![Vec::new(); contenders.len()];
    let began = Instant::now();
    for round in 0..rounds {
        for index in shuffled(contenders.len(), &mut random) {
            let contender = &mut contenders[index];
            let value = (contender.measure)();
            values[index].push(value.with_context(|| contender.name.clone())?);
        }
        progress.tell(case, round + 1, rounds, began.elapsed());
    }
    let by_name: HashMap<&str, &Vec<f64>> = contenders
        .iter()
        .map(|contender| contender.name.as_str())
        .zip(&values)
        .collect();
    let mut rows = Vec::new();
    for (contender, values) in contenders.iter().zip(&values) {
        let ratio_to = |name: &str| {
            let base = by_name.get(name).with_context(|| format!("no {name}"))?;
            let ratios = values.iter().zip(*base).map(|(value, base)| value / base);
            anyhow::Ok(Spread::of(ratios.collect()))
        };
        let row = Row {
            case,
            name: contender.name.clone(),
            unit,
            value: Spread::of(values.clone()),
            ratio: contender.baseline.map(ratio_to).transpose()?,
            baseline: contender.baseline.map(str::to_owned),
            target: contender.target,
        };
        let also = contender.also.as_ref();
        let also = also.map(|also| {
            anyhow::Ok(Row {
                name: also.name.clone(),
                ratio: Some(ratio_to(also.baseline)?),
                baseline: Some(also.baseline.to_owned()),
                target: Some(also.target),
                ..row.clone()
            })
        });
        rows.push(row);
        rows.extend(also.transpose()?);
    }
    Ok(rows)
}

/// The numbers below `count`, in an order by chance.
fn shuffled(count: usize, random: &mut Random) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for end in (1..count).rev() {
        order.swap(end, random.below(end + 1));
    }
    order
}
