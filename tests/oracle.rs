//! Every path against `tests/data`: results of the published packages and of an 80-digit calculation.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::oracle::{Case, Exact, cases};
use softadapt::{Batch, Status, reference};

#[test]
fn probe() {
    let mut worst = 0.0f64;
    for case in cases() {
        let Exact::Known { weights, slopes, means } = &case.exact else { continue };
        let plan = match case.plan() { Ok(p) => p, Err(e) => { println!("{} {:?} {e:?}", case.id, case.tags); continue } };
        let losses = case.padded_losses();
        let answer = reference::weigh(&plan, &Batch::new(&losses)).unwrap();
        let largest = weights.iter().fold(0.0f64, |m, w| m.max(w.abs()));
        let error = weights.iter().zip(&answer.weights).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / largest;
        if !(error < 1e-12) { println!("{} {:?} {} beta {} err {error:e} {:?} exact {:?} ours {:?}", case.id, case.tags, case.variant, case.beta, answer.status, &weights[..weights.len().min(3)], &answer.weights[..weights.len().min(3)]); }
        worst = worst.max(error);
    }
    println!("{worst:e}");
}
