// Push and weights in one dispatch: the newest losses go into the ring; where an update is due, the window that ends with
// them becomes weights, by the functions of the batch kernels, and these are published. Entry point: losses (or the open
// epoch) and state -> state, weights, status, log.
//
// Barriers: groups of one workgroup may be due at different times, so all lanes compute if one group's update is due, and
// lanes whose group is not neither write nor count. One barrier stands between the last reading of a clock and its storing.

var<workgroup> step_votes: atomic<u32>;
var<workgroup> step_is_wanted: u32;

// Whether any lane of the workgroup wants the weights to be computed.
fn any_lane(lane: Lane, wanted: bool) -> bool {
    if lane.index == 0u {
        atomicStore(&step_votes, 0u);
    }
    workgroupBarrier();
    if wanted {
        atomicOr(&step_votes, 1u);
    }
    workgroupBarrier();
    if lane.index == 0u {
        step_is_wanted = atomicLoad(&step_votes);
    }
    return workgroupUniformLoad(&step_is_wanted) != 0u;
}

@compute @workgroup_size(WORKGROUP)
fn step_stage(invocation: Invocation) {
    var lane = lane_of(invocation);
    let group = min(lane.group, params.groups - 1u);
    let exists = lane.exists;
    tick(group, epoch_is_empty(group));
    publish_start(group);
    let log_word = log_head(group);
    for (var round = 0u; round < ROUNDS; round += 1u) {
        if owns(lane, round) {
            row_newest[round] = newest_loss(lane, round, group);
            state[balance.ring + clock.cursor * params.loss_time + row_place(lane, round)] = row_newest[round];
        }
    }

    let wanted = exists && (clock.due || COMPUTES_ALWAYS);
    var compute = true;
    if !UPDATES_ALWAYS && !COMPUTES_ALWAYS {
        compute = any_lane(lane, wanted);
    }
    if compute {
        lane.exists = wanted;
        for (var round = 0u; round < ROUNDS; round += 1u) {
            let row = read_row(lane, round);
            if owns(lane, round) {
                row_score[round] = slope_bits(row.slope, clock.points);
                row_mean[round] = average_bits(row.average);
            }
        }
        normalize_team(lane);
        softmax_team(lane, group_flags);
        if clock.due {
            for (var round = 0u; round < ROUNDS; round += 1u) {
                if owns(lane, round) {
                    log_weight(lane, round, log_word);
                }
            }
        }
    }

    workgroupBarrier();
    if exists && lane.rank == 0u {
        let published = clock.published || (clock.due && publishes());
        publish_end(group);
        close_epoch(group);
        if clock.due {
            log_update(group, log_word);
        }
        store_clock(group, published);
    }
}
