// Beta times a factor that follows the group's pushes before this one; the operations of `src/balancer/schedule.rs`.

// (1 - cos(pi u)) / 2 as (1 + sin(pi (u - 1/2))) / 2: the cosine that WGSL has may be off by 2^-11.
fn half_cosine(u: f32) -> f32 {
    let x = 3.14159274 * (u - 0.5);
    let square = x * x;
    var p = -2.5052108e-8;
    p = p * square + 2.7557319e-6;
    p = p * square - 1.984127e-4;
    p = p * square + 8.333333e-3;
    p = p * square - 0.16666667;
    return 0.5 + 0.5 * (x + x * square * p);
}

fn schedule_factor(step: u32) -> f32 {
    if step >= balance.schedule_over {
        return balance.schedule_to;
    }
    let elapsed = f32(step) / f32(balance.schedule_over);
    var risen = elapsed;
    if SCHEDULE_COSINE {
        risen = half_cosine(elapsed);
    }
    return balance.schedule_from * (1.0 - risen) + balance.schedule_to * risen;
}

fn group_beta_bits(group: u32) -> u32 {
    let base = base_beta_bits(group);
    if !is_finite_bits(base) {
        return base;
    }
    return finite_or_nan_bits(bitcast<f32>(base) * schedule_factor(clock.steps_before));
}
