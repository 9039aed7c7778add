//! Configurations: every setting out of range is named, and written ones come back as they were.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use softadapt::{Config, ConfigError, MAX_BETA, MAX_ORDER};

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
