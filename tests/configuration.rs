//! Configurations: every setting out of range is named, and written ones come back as they were.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use softadapt::{Batch, BatchError, Config, ConfigError, Layout, MAX_BETA, MAX_ORDER, Plan, PlanError, Shape, cpu};

#[test]
fn settings_out_of_range_are_named_with_their_values() {
    let check = |config: Config| config.validate().unwrap_err();
    let original = Config::original;
    assert_eq!(check(original().with_order(0)), ConfigError::Order { order: 0 });
    assert_eq!(check(original().with_order(MAX_ORDER + 1)), ConfigError::Order { order: 21 });
    assert_eq!(check(original().with_beta(1e38)), ConfigError::Beta { beta: 1e38 });
    assert_eq!(check(original().with_beta(f64::NEG_INFINITY)), ConfigError::Beta { beta: f64::NEG_INFINITY });
    assert!(matches!(check(original().with_beta(f64::NAN)), ConfigError::Beta { .. }));
    assert_eq!(check(original().with_epsilon(-1e-8)), ConfigError::Epsilon { epsilon: -1e-8 });
    assert!(matches!(check(original().with_epsilon(f64::NAN)), ConfigError::Epsilon { .. }));
    assert_eq!(check(original().with_floor(-0.1)), ConfigError::Floor { floor: -0.1 });
    assert_eq!(check(original().with_floor(1.5)), ConfigError::Floor { floor: 1.5 });
    assert!(matches!(check(original().with_floor(f64::NAN)), ConfigError::Floor { .. }));
    assert_eq!(check(original().with_prior([1.0, -2.0])), ConfigError::Prior { component: 1, factor: -2.0 });
    assert!(matches!(check(original().with_prior([f64::NAN])), ConfigError::Prior { component: 0, .. }));
    assert_eq!(check(original().with_prior([0.0, 0.0])), ConfigError::PriorAllZero { factors: 2 });
    for config in [original(), original().with_beta(-MAX_BETA), original().with_floor(1.0), original().with_order(20)] {
        assert_eq!(config.validate(), Ok(()));
    }
}

/// Messages carry the numbers and a way out.
#[test]
fn messages_name_the_numbers() {
    let message = Config::original().with_order(21).validate().unwrap_err().to_string();
    assert_eq!(message, "accuracy order 21 is not supported: choose one from 1 to 20");
}

/// Offsets say how many losses there are: fewer or more, of any slice, are refused.
#[test]
fn ragged_offsets_that_do_not_fit_the_slices_are_refused() {
    for layout in [Layout::RowMajor, Layout::TimeMajor] {
        let shape = Shape::ragged(vec![0, 2, 2, 5], 3).unwrap().with_layout(layout).unwrap();
        let plan = Plan::new(Config::original(), shape).unwrap();
        let length = |what, length, needed| Err(BatchError::Length { what, length, needed });
        let weigh = |losses: usize, points: usize| {
            let (losses, points) = (vec![1.0f32; losses], vec![3; points]);
            cpu::weigh(&plan, &Batch { points: Some(&points), ..Batch::new(&losses) }).map(|answer| answer.weights)
        };
        // Offsets that run past the end of the losses, and that end short of it.
        assert_eq!(weigh(12, 3), length("losses", 12, 15));
        assert_eq!(weigh(18, 3), length("losses", 18, 15));
        // One a group, the empty one too; not one a row.
        assert_eq!(weigh(15, 2), length("points", 2, 3));
        assert_eq!(weigh(15, 5), length("points", 5, 3));
        assert_eq!(weigh(15, 3).unwrap(), [0.5, 0.5, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0]);
    }
}

/// Shapes as large as can be addressed are planned at once: nothing goes through their groups.
#[test]
fn plans_of_huge_shapes_take_no_time() {
    let huge = Shape::new(1 << 55, 2, 2).unwrap();
    let config = Config::original().with_prior([1.0, 0.5]).with_floor(0.25);
    assert_eq!(Plan::new(config.clone(), huge.clone()).unwrap().shape().losses_len(), 1 << 57);
    let sliced = huge.slice(5..1 << 54).unwrap();
    assert_eq!(Plan::new(config, huge).unwrap().with_shape(sliced).unwrap().shape().groups(), (1 << 54) - 5);
    let none = Shape::new(1 << 55, 1, 2).unwrap();
    assert_eq!(
        Plan::new(Config::original().with_prior([1.0, 2.0]), none),
        Err(PlanError::PriorLength { factors: 2, components: 1 })
    );
}

#[cfg(feature = "serde")]
#[test]
fn configurations_survive_serialisation() {
    use softadapt::{LossWeighting, Normalize, OnNonFinite, Scale, Slope};
    let config = Config::normalized()
        .with_slope(Slope::Backward { order: Some(3) })
        .with_normalize(Normalize::L2)
        .with_loss_weighting(LossWeighting::SlopePoints)
        .with_prior([1.0, 2.5])
        .with_scale(Scale::Components)
        .with_on_non_finite(OnNonFinite::Mask)
        .with_beta(0.1);
    let text = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<Config>(&text).unwrap(), config);
    assert!(text.contains(r#""normalize":"l2""#) && text.contains(r#""loss_weighting":"slope-points""#), "{text}");
    let unknown = text.replace("floor", "flor");
    assert!(serde_json::from_str::<Config>(&unknown).unwrap_err().to_string().contains("flor"));
}
