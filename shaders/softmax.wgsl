// Stage `softmax`: max-subtracted softmax of beta * score, times mean loss and prior, renormalised, with minimum weight
// and scale; and every policy for groups that cannot have it. Entry point: scores (and means) -> weights, status.

// What the components of a group say together.
const SURVEY_BAD: u32 = 1u;       // one of them is not finite
const SURVEY_USABLE: u32 = 2u;    // one of them is finite and has a prior
const SURVEY_FACTOR: u32 = 4u;    // ... and a mean loss that is not zero
const SURVEY_NEGATIVE: u32 = 8u;  // one has a negative mean loss

// Mean loss under the policy for negative ones.
fn mean_factor(round: u32) -> Wide {
    let mean = bitcast<f32>(row_mean[round]);
    return widen(select(max(mean, 0.0), mean, NEGATIVE_AS_IS));
}

fn survey(lane: Lane) -> u32 {
    var found = 0u;
    for (var round = 0u; round < ROUNDS; round += 1u) {
        if !owns(lane, round) {
            continue;
        }
        if !counts(lane, round) {
            found |= SURVEY_BAD;
            continue;
        }
        if prior(component_of(lane, round)).mantissa > 0.0 {
            found |= SURVEY_USABLE;
            if LOSS_WEIGHTED {
                found |= select(0u, SURVEY_FACTOR, mean_factor(round).mantissa != 0.0);
            }
        }
        if LOSS_WEIGHTED {
            found |= select(0u, SURVEY_NEGATIVE, bitcast<f32>(row_mean[round]) < 0.0);
        }
    }
    return team_or(lane, found);
}

// What a group's terms are made of.
struct Recipe {
    beta: f32,
    epsilon: Wide,
    // All components count and have the same score: neutral weights.
    neutral: bool,
    // Whether mean losses are a factor.
    weighted: bool,
}

fn takes_part(lane: Lane, round: u32, recipe: Recipe) -> bool {
    return select(counts(lane, round), owns(lane, round), recipe.neutral);
}

fn score_of(round: u32, recipe: Recipe) -> f32 {
    return select(bitcast<f32>(row_score[round]), 0.0, recipe.neutral);
}

fn factor_of(lane: Lane, round: u32, recipe: Recipe) -> Wide {
    let factor = prior(component_of(lane, round));
    if LOSS_WEIGHTED {
        if recipe.weighted {
            return multiply(factor, mean_factor(round));
        }
    }
    return factor;
}

// beta * (score - origin), by halves so that the difference of two finite numbers is finite.
fn exponent(recipe: Recipe, score: f32, origin: f32) -> f32 {
    return (2.0 * recipe.beta) * (0.5 * score - 0.5 * origin);
}

// Fills `row_term`. Returns (divisor, number of components that a minimum weight is for).
fn terms_team(lane: Lane, recipe: Recipe) -> vec2<f32> {
    let direction = select(1.0, -1.0, recipe.beta < 0.0);
    // (best score with a factor, in the direction of beta; largest score; smallest score, negated)
    var extremes = vec4<f32>(LOWEST);
    for (var round = 0u; round < ROUNDS; round += 1u) {
        if takes_part(lane, round, recipe) {
            let score = score_of(round, recipe);
            extremes.y = max(extremes.y, score);
            extremes.z = max(extremes.z, -score);
            if factor_of(lane, round, recipe).mantissa != 0.0 {
                extremes.x = max(extremes.x, direction * score);
            }
        }
    }
    extremes = team_max(lane, extremes);
    let origin = direction * extremes.x;

    // Terms, and the largest of their exponents, which they are all scaled by.
    var unit = -4096;
    for (var round = 0u; round < ROUNDS; round += 1u) {
        row_term[round] = Wide(0.0, 0);
        if takes_part(lane, round, recipe) {
            let factor = factor_of(lane, round, recipe);
            if factor.mantissa != 0.0 {
                let power = wide_exp(exponent(recipe, score_of(round, recipe), origin));
                row_term[round] = multiply(factor, power);
                unit = max(unit, row_term[round].exponent);
            }
        }
    }
    if HAS_FACTORS {
        unit = i32(team_max(lane, vec4<f32>(f32(unit))).x);
    } else {
        // The best component's term is 1.
        unit = 0;
    }

    clear_round_values();
    for (var round = 0u; round < ROUNDS; round += 1u) {
        if takes_part(lane, round, recipe) {
            let term = narrow(row_term[round], unit);
            row_term[round] = Wide(term, 0);
            round_value[round] = vec2<f32>(term, select(0.0, 1.0, prior(component_of(lane, round)).mantissa > 0.0));
        }
    }
    var sum = team_sum(lane);

    // Epsilon belongs to a sum that the largest score was subtracted from.
    let gap = exponent(recipe, extremes.y, origin);
    let equal = extremes.y == -extremes.z || recipe.beta == 0.0;
    if recipe.epsilon.mantissa > 0.0 && !equal && gap <= UNDERFLOW_GAP {
        sum.x += narrow(multiply(recipe.epsilon, wide_exp(gap)), unit);
    }
    return sum;
}

fn softmax_team(lane: Lane, earlier_flags: u32) {
    let found = survey(lane);
    let group = min(lane.group, params.groups - 1u);
    let beta_bits = group_beta_bits(group);
    // NaN and infinities have the largest exponent of all.
    let bad_beta = (beta_bits & MAGNITUDE_BITS) > MAX_BETA_BITS;
    var recipe = Recipe(select(bitcast<f32>(beta_bits), 0.0, bad_beta), Wide(params.epsilon_mantissa, params.epsilon_exponent),
        false, true);

    // Which groups get weights of their own.
    var flags = 0u;
    var hold = false;
    var propagate = false;
    if group_points(group) < slope_points() {
        flags = STATUS_NOT_READY;
        hold = true;
    } else if bad_beta || (found & SURVEY_BAD) != 0u {
        flags = select(0u, STATUS_NON_FINITE_BETA, bad_beta)
            | select(0u, STATUS_NON_FINITE, (found & SURVEY_BAD) != 0u);
        propagate = ON_NON_FINITE == PROPAGATE;
        let masked = ON_NON_FINITE == MASK && !bad_beta && (found & SURVEY_USABLE) != 0u;
        hold = !propagate && !masked;
    }
    if hold {
        recipe = Recipe(0.0, Wide(0.0, 0), true, false);
    } else if !propagate && lane.components > 0u {
        flags |= earlier_flags;
        if LOSS_WEIGHTED {
            flags |= select(0u, STATUS_NEGATIVE_MEAN_LOSS, (found & SURVEY_NEGATIVE) != 0u);
            if (found & SURVEY_FACTOR) == 0u {
                flags |= STATUS_ZERO_MEAN_LOSS;
                recipe.weighted = false;
            }
        }
    }

    var sum = terms_team(lane, recipe);
    if LOSS_WEIGHTED && NEGATIVE_AS_IS {
        // Mean losses of both signs may cancel; every lane of the workgroup repeats, so that all pass the same barriers.
        if sum.x == 0.0 && recipe.weighted && !hold && !propagate && lane.components > 0u {
            flags |= STATUS_ZERO_MEAN_LOSS;
            recipe.weighted = false;
        }
        sum = terms_team(lane, recipe);
    }

    for (var round = 0u; round < ROUNDS; round += 1u) {
        if !owns(lane, round) {
            continue;
        }
        if hold && KEEP_PREVIOUS {
            publish_held(lane, round);
            continue;
        }
        var weight = row_term[round].mantissa / sum.x;
        if params.floor > 0.0 {
            let floors = takes_part(lane, round, recipe) && prior(component_of(lane, round)).mantissa > 0.0;
            weight = select(0.0, params.floor, floors) + (1.0 - sum.y * params.floor) * weight;
        }
        if SCALE_TO_COMPONENTS {
            weight *= f32(lane.components);
        }
        publish(lane, round, select(bitcast<u32>(weight), NAN_BITS, propagate));
    }
    if lane.exists && lane.rank == 0u {
        write_status(lane.group, flags);
    }
    group_held = hold;
}

@compute @workgroup_size(WORKGROUP)
fn softmax_stage(invocation: Invocation) {
    let lane = lane_of(invocation);
    for (var round = 0u; round < ROUNDS; round += 1u) {
        if owns(lane, round) {
            row_score[round] = scores[weight_place(lane, round)];
            row_mean[round] = load_mean(weight_place(lane, round));
        }
    }
    var earlier_flags = 0u;
    if MERGE_STATUS {
        // Only what the stage `normalize` says: the other flags may be an earlier run's. Only the lane that writes the word
        // reads it.
        if lane.exists && lane.rank == 0u {
            earlier_flags = read_status(lane.group) & STATUS_ZERO_SLOPE_SUM;
        }
    }
    softmax_team(lane, earlier_flags);
}
