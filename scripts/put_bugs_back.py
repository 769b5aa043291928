"""Put each known bug back into a copy of the source, and show that a test catches it.

Run it as `python scripts/put_bugs_back.py`, or with words of the names of the bugs to try. One line is printed per
bug; the exit status is 1 if a bug is not caught.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
AT_ONCE = 2


@dataclass(frozen=True)
class Bug:
    """One bug.

    Args:
        name: what is wrong with it, in words.
        file: under src/tabcohort.
        right: the text that is there, exactly once.
        wrong: what stands in its place when the bug is back.
        tests: ids of the tests, under tests, of which at least one must fail.
    """

    name: str
    file: str
    right: str
    wrong: str
    tests: tuple[str, ...]


LOOP = "engines/torch_loop.py"
MASKS = "test_torch_loop.py::test_dropout_of_neighbours_layers_and_steps_is_uncorrelated"
PLAIN = "test_torch_loop.py::test_epochs_equal_a_plain_pytorch_loop"
KERNELS = "engines/kernels.py"
ENGINES_AGREE = "parity/test_engines.py::test_after_200_steps_with_everything_on_the_engines_agree"
GRADIENTS = "parity/test_engines.py::test_every_gradient_is_that_of_autograd_and_of_central_differences"

BUGS = (
    # Best weights and stopping
    Bug(
        "the best weights are the ones training goes on writing",
        "engines/__init__.py",
        "return {name: array.copy() for name, array in self.state.items()}",
        "return dict(self.state)",
        (
            "test_training.py::test_best_weights_are_the_ones_that_scored_best",
            "test_training.py::test_best_weights_share_no_storage_with_what_training_goes_on_writing",
        ),
    ),
    Bug(
        "the last weights are kept",
        "training.py",
        "    _write_state(engine, progress.best_state)\n",
        "",
        ("test_cohort.py::test_the_trained_module_has_the_weights_that_scored_best",),
    ),
    Bug(
        "the buffers are those of the last epoch",
        LOOP,
        'tensors.update({f"buffer.{name}": buffer for name, buffer in self.module.named_buffers()})',
        "pass",
        ("test_training.py::test_buffers_are_those_of_the_best_epoch_too",),
    ),
    Bug(
        "a buffer that the module replaces is not noticed",
        LOOP,
        "        self._check_buffers()\n",
        "",
        ("test_torch_loop.py::test_a_module_that_replaces_its_buffer_is_an_error_that_names_it",),
    ),
    Bug(
        "ties keep the latest epoch",
        "training.py",
        "return score < best if settings.lower_is_better else score > best",
        "return score <= best if settings.lower_is_better else score >= best",
        ("test_training.py::test_ties_keep_the_earliest_epoch",),
    ),
    Bug(
        "a higher score is always better",
        "training.py",
        "return score < best if settings.lower_is_better else score > best",
        "return score > best",
        ("test_training.py::test_the_monitored_metric_chooses_the_epoch",),
    ),
    Bug(
        "Ctrl-C leaves the last weights",
        "training.py",
        'progress = replace(progress, stop_reason="interrupted")',
        'return replace(progress, stop_reason="interrupted")',
        ("test_training.py::test_ctrl_c_keeps_the_best_so_far",),
    ),
    Bug(
        "a loss that is not finite is trained on",
        "training.py",
        "if not is_finite[i]:",
        "if False:",
        ("test_training.py::test_a_loss_that_is_not_finite_names_member_epoch_and_step",),
    ),
    Bug(
        "a metric that the rows cannot tell is watched",
        "training.py",
        "if math.isnan(value):",
        "if False:",
        ("test_training.py::test_a_metric_that_the_stopping_rows_cannot_tell_is_an_error",),
    ),
    # Roles
    Bug(
        "a row may have two roles",
        "roles.py",
        "if len(np.unique(everyone)) != len(everyone):",
        "if False:",
        ("test_roles.py::test_a_row_may_have_one_role_only",),
    ),
    Bug(
        "duplicates of a row have roles of their own",
        "roles.py",
        "starts = np.concatenate([[False], ordered[1:] != ordered[:-1]])",
        "starts = np.arange(len(ordered)) > 0",
        ("test_roles.py::test_equal_rows_have_the_same_role_whatever_their_class",),
    ),
    Bug(
        "rows of one key get different roles",
        "roles.py",
        "label = hashes if key is None else _least_hash_of_relatives(hashes, key)",
        "label = hashes",
        ("test_roles.py::test_rows_of_one_key_have_the_same_role_and_so_have_equal_rows",),
    ),
    Bug(
        "the split depends on the order of the rows",
        "roles.py",
        "_groups_in_order(row_hashes(X, settings.seed), y, weight, key)",
        "_groups_in_order(np.arange(len(y), dtype=np.uint64), y, weight, key)",
        ("test_roles.py::test_the_split_does_not_depend_on_the_order_of_the_rows",),
    ),
    Bug(
        "a row of weight two splits like one row",
        "roles.py",
        "np.bincount(group, weights=weight[order]).astype(np.float64)\n    group_class = "
        "_heaviest_class(group, y[order], weight[order])\n    role = ",
        "np.bincount(group).astype(np.float64)\n    group_class = _heaviest_class(group, y[order], weight[order])\n"
        "    role = ",
        ("test_roles.py::test_a_row_of_weight_two_splits_like_two_rows",),
    ),
    Bug(
        "the model is scored on rows that trained",
        "cohort.py",
        "logits(self.table.X, roles.score)",
        "logits(self.table.X, roles.train[: len(roles.score)])",
        ("test_cohort.py::test_no_row_that_trains_or_stops_is_scored",),
    ),
    Bug(
        "columns are standardised by all rows",
        "member.py",
        "return fit_statistics(table.X, weight, rows)",
        "return fit_statistics(table.X, table.weight)",
        ("test_cohort.py::test_columns_are_standardised_by_the_training_rows_alone",),
    ),
    # Cohorts
    Bug(
        "all members have the same draws",
        "member.py",
        "        member=member,\n    )\n    reading",
        "        member=0,\n    )\n    reading",
        ("test_member.py::test_each_member_has_draws_of_its_own",),
    ),
    Bug(
        "rows are judged by an ensemble that they chose",
        "conclude.py",
        "choose_ensemble(found), cross_fit(found)",
        "choose_ensemble(found), (choose_ensemble(found).log_proba(found.log_proba),) * 2",
        ("test_cohort.py::test_what_is_reported_of_a_row_was_not_chosen_by_it",),
    ),
    Bug(
        "rows are judged by a threshold that they chose",
        "judged.py",
        "called = cross_fit_threshold(aim, log_proba, judged.y, judged.weight, judged.part, positive)",
        "called = predicted_codes(log_proba, positive, decision.threshold)",
        ("test_predictor.py::test_the_threshold_and_the_limits_that_judge_a_row_are_chosen_on_other_rows",),
    ),
    Bug(
        "rows are judged by limits that they chose",
        "judged.py",
        "sets = cross_fit_sets(judged.log_proba.astype(np.float64), y, weight, judged.part, coverage)",
        "sets = in_sets(judged.log_proba.astype(np.float64), class_limits(judged.log_proba, y, weight, coverage))",
        ("test_predictor.py::test_the_threshold_and_the_limits_that_judge_a_row_are_chosen_on_other_rows",),
    ),
    Bug(
        "a member that paused goes on with the state of its best epoch",
        "training.py",
        "replace(progress, stop_reason=asked, state=engine.state_after(i))",
        "replace(progress, stop_reason=asked, state=progress.best_state)",
        ("test_cohort.py::test_a_budget_that_suffices_changes_no_bit",),
    ),
    Bug(
        "a member that a checkpoint holds runs past its pause",
        "training.py",
        "            progress = replace(progress, stop_reason=watch(progress))\n",
        "            pass\n",
        ("test_training.py::test_a_watcher_is_asked_before_the_first_epoch_of_a_training_that_goes_on",),
    ),
    Bug(
        "a checkpoint does not know whose it is",
        "cohort.py",
        'identity=f"member {member.number}",',
        'identity="",',
        ("test_checkpoint.py::test_a_checkpoint_of_another_member_is_refused",),
    ),
    Bug(
        "a setting's networks weigh as much however small its share",
        "predictor.py",
        "report.settings[each].weight / of_setting.count(each)",
        "1 / of_setting.count(each)",
        ("test_predictor.py::test_networks_of_settings_with_a_greater_share_count_for_more",),
    ),
    Bug(
        "a file of members that have no share is read",
        "artifact.py",
        "if not all(0 < report.settings[report.members[number].setting].weight <= 1 for number in members):",
        "if False:",
        ("test_artifact.py::test_a_document_that_does_not_fit_is_refused",),
    ),
    Bug(
        "a day that may be a month is a time",
        "frames.py",
        "moments = text.set(~is_iso, None)",
        "moments = text",
        ("test_table.py::test_a_time_that_is_none_is_named_by_its_row",),
    ),
    # Batches
    Bug(
        "batch norm meets a last batch of one row",
        "plan.py",
        "if self.needs_pairs and len(bounds) > 2 and bounds[-1] - bounds[-2] == 1:",
        "if False:",
        ("test_plan.py::test_with_batch_norm_every_row_is_used_once_and_no_batch_has_one_row",),
    ),
    Bug(
        "repeated rows are merged under batch norm",
        "member.py",
        "if has_batch_norm:  # its",
        "if False:  # its",
        ("test_member.py::test_batch_norm_has_the_mean_of_all_training_rows_also_where_many_are_equal",),
    ),
    Bug(
        "the short batch is dropped",
        "plan.py",
        "np.append(np.arange(0, self.n_rows, self.batch_size), self.n_rows)",
        "np.arange(0, self.n_rows + 1, self.batch_size)",
        ("test_plan.py::test_without_batch_norm_the_short_batch_is_used",),
    ),
    Bug(
        "no update is possible, and nobody says so",
        "plan.py",
        "if self.needs_pairs and min(self.n_rows, self.batch_size) < 2:",
        "if False:",
        ("test_plan.py::test_batch_norm_without_two_rows_in_a_step_is_an_error",),
    ),
    Bug(
        "the epoch loss is a mean of batch means",
        "training.py",
        "(outcomes.step_losses.sum(axis=1) / plans.orders.shape[1])",
        "(outcomes.step_losses / np.diff(plans.bounds)).mean(axis=1)",
        ("test_training.py::test_the_training_loss_of_an_epoch_is_the_mean_over_its_rows",),
    ),
    Bug(
        "gradients add up from step to step",
        LOOP,
        "self.parameters.gradient.zero_()",
        "pass",
        (PLAIN,),
    ),
    # Metrics
    Bug(
        "the positive class is always the first",
        "metrics.py",
        "one_against_rest(confusion, self.positive)",
        "one_against_rest(confusion, 0)",
        (
            "test_evaluate.py::test_naming_the_other_class_swaps_sensitivity_with_specificity",
            "test_evaluate.py::test_sensitivity_is_of_the_named_class",
        ),
    ),
    Bug(
        "ties count as wins in ROC AUC",
        "metrics.py",
        "misses_so_far + misses / 2",
        "misses_so_far + misses",
        ("test_metrics.py::test_metrics_of_two_classes_are_those_of_scikit_learn",),
    ),
    Bug(
        "accuracy's interval is Wald's, which collapses without errors",
        "evaluate.py",
        "share * (1 - share) / trials + z2 / (4 * trials)",
        "share * (1 - share) / trials",
        ("test_evaluate.py::test_wilson_gives_the_published_interval",),
    ),
    Bug(
        "rows of one patient count as independent in intervals",
        "evaluate.py",
        "name: design_effect(weight * influence, weight, family) for",
        "name: 1.0 for",
        ("test_evaluate.py::test_rows_that_are_there_four_times_say_as_much_as_once",),
    ),
    Bug(
        "a single error in few families makes an interval narrower than none",
        "evaluate.py",
        "ratio * for_few(n_families - 1), min(as_one, ratio * for_few(resting_on))",
        "ratio * for_few(n_families - 1)",
        ("test_evaluate.py::test_an_error_makes_an_interval_no_better",),
    ),
    Bug(
        "Ctrl-C after the last network loses all of them",
        "cohort.py",
        "except KeyboardInterrupt:  # all that",
        "except ZeroDivisionError:  # all that",
        ("test_cohort.py::test_an_interruption_after_training_loses_nothing",),
    ),
    Bug(
        "log probabilities are logarithms of probabilities",
        "metrics.py",
        "return -np.logaddexp(0.0, np.hstack([logits, -logits]))",
        "return -np.log(1 + np.exp(np.hstack([logits, -logits])))",
        ("test_metrics.py::test_extreme_logits_give_finite_log_probabilities",),
    ),
    # Losses
    Bug(
        "the loss of two classes is taken from probabilities",
        LOOP,
        'return F.binary_cross_entropy_with_logits(logits, mass[:, 1:], reduction="sum")',
        'return F.binary_cross_entropy(torch.sigmoid(logits), mass[:, 1:], reduction="sum")',
        (
            "test_torch_loop.py::test_extreme_logits_of_two_classes_give_finite_losses_and_right_gradients",
            "test_torch_loop.py::test_a_confident_mistake_still_has_a_gradient",
        ),
    ),
    Bug(
        "the loss of more classes is taken from probabilities",
        LOOP,
        'return F.cross_entropy(logits, mass, reduction="sum")',
        "return -(mass * logits.softmax(dim=1).log()).sum()",
        ("test_torch_loop.py::test_extreme_logits_of_more_classes_give_finite_losses_and_right_gradients",),
    ),
    Bug(
        "logits of one dimension are compared with a column",
        "engines/__init__.py",
        "if shape not in allowed:",
        "if False:",
        ("test_torch_loop.py::test_logits_of_another_shape_are_an_error",),
    ),
    Bug(
        "mixup has hard labels",
        LOOP,
        "mass = torch.lerp(mass.index_select(0, partners), mass, plan.mix[step])",
        "pass",
        ("test_torch_loop.py::test_a_mixed_step_trains_on_mixed_inputs_with_mixed_targets",),
    ),
    Bug(
        "mixup weights are uniform",
        "plan.py",
        "draw.beta(self.mixup_alpha, self.mixup_alpha, mixes.shape)",
        "draw.random(mixes.shape)",
        ("test_plan.py::test_mixup_weights_are_beta_distributed",),
    ),
    Bug(
        "every batch is mixed",
        "plan.py",
        "draw.random(mixes.shape) < self.mixup_probability",
        "draw.random(mixes.shape) < 1",
        ("test_plan.py::test_steps_are_mixed_with_the_given_probability",),
    ),
    Bug(
        "label smoothing leaves the row's own class out",
        "member.py",
        "weight[:, None] * settings.label_smoothing / n_classes",
        "weight[:, None] * settings.label_smoothing / (n_classes - 1)",
        ("test_member.py::test_the_mass_of_a_row_is_its_smoothed_target_times_its_weight",),
    ),
    Bug(
        "equal rows lose their weight when they are merged",
        "roles.py",
        "np.add.reduceat(weight[rows], np.flatnonzero(first))",
        "weight[rows[first]]",
        (
            "test_roles.py::test_merged_rows_are_different_and_keep_the_total_weight",
            "test_cohort.py::test_sample_weights_equal_repeated_rows_to_the_bit",
        ),
    ),
    Bug(
        "balanced class weights forget the number of classes",
        "member.py",
        "np.divide(totals.sum(), n_classes * totals,",
        "np.divide(totals.sum(), totals,",
        ("test_member.py::test_balanced_class_weights_are_those_of_scikit_learn",),
    ),
    # Schedules and optimisers
    Bug(
        "the schedule is one epoch ahead",
        "schedule.py",
        "done, base = epoch - 1, settings.learning_rate",
        "done, base = epoch, settings.learning_rate",
        (
            "test_schedule.py::test_step_is_that_of_pytorch",
            "test_schedule.py::test_cosine_is_that_of_pytorch",
            "test_schedule.py::test_one_cycle_is_that_of_pytorch",
        ),
    ),
    Bug(
        "the plateau schedule takes every metric for a loss",
        "schedule.py",
        "better = score < self.best - margin if settings.lower_is_better else score > self.best + margin",
        "better = score < self.best - margin",
        ("test_schedule.py::test_plateau_is_that_of_pytorch",),
    ),
    Bug(
        "the history records another rate than the one used",
        "training.py",
        "stopping.measure(plans, rates, outcomes, settings.monitor, seconds)",
        "stopping.measure(plans, [settings.learning_rate] * len(rates), outcomes, settings.monitor, seconds)",
        ("test_training.py::test_the_history_records_the_rate_really_used",),
    ),
    Bug(
        "biases and normalisation decay",
        LOOP,
        "matrices = slice(self.parameters.n_in_matrices)",
        "matrices = slice(None)",
        ("test_torch_loop.py::test_vectors_do_not_decay_and_matrices_do",),
    ),
    Bug(
        "gradients are not clipped",
        LOOP,
        "                self._clip()\n",
        "",
        ("test_torch_loop.py::test_clipping_is_by_the_global_norm_as_in_pytorch",),
    ),
    Bug(
        "AdamW is Adam",
        LOOP,
        'if settings.weight_decay > 0 and settings.optimizer == "adamw":',
        "if False:",
        (PLAIN,),
    ),
    Bug(
        "initial weights have half the variance",
        "models.py",
        "bound = math.sqrt(6 / (layer.in_features",
        "bound = math.sqrt(3 / (layer.in_features",
        ("test_models.py::test_weights_lie_within_the_bound_of_glorot_and_have_its_spread",),
    ),
    # Modes, masks and bits
    Bug(
        "stopping rows are passed in training mode",
        LOOP,
        "    module.eval()\n    return torch.cat(",
        "    return torch.cat(",
        (
            "test_torch_loop.py::test_stopping_rows_are_passed_in_evaluation_mode",
            "test_cohort.py::test_the_prediction_of_a_row_does_not_depend_on_its_batch",
        ),
    ),
    Bug(
        "training goes on in evaluation mode after the first epoch",
        LOOP,
        "        self.module.train()\n",
        "",
        ("test_torch_loop.py::test_epochs_with_batch_norm_and_clipping_equal_a_plain_pytorch_loop",),
    ),
    Bug(
        "every step has the same dropout mask",
        LOOP,
        "self.key, self.n_calls = key, 0",
        "self.key, self.n_calls = 12345, 0",
        (MASKS, "test_torch_loop.py::test_dropout_masks_are_those_of_their_key"),
    ),
    Bug(
        "every layer has the same dropout mask",
        LOOP,
        "_as_int32(self.key + layer * 0x9E3779B9)",
        "_as_int32(self.key)",
        (MASKS,),
    ),
    Bug(
        "dropout stays hashed after training",
        LOOP,
        "                del layer.forward\n",
        "                pass\n",
        ("test_torch_loop.py::test_dropout_layers_are_pytorchs_own_again_afterwards",),
    ),
    Bug(
        "training reseeds PyTorch for everyone",
        LOOP,
        "with torch.random.fork_rng():",
        "if True:",
        ("test_modules.py::test_training_neither_depends_on_pytorchs_global_generator_nor_touches_it",),
    ),
    Bug(
        "random layers draw from PyTorch's global state",
        LOOP,
        "        torch.default_generator.manual_seed(key)\n",
        "",
        ("test_modules.py::test_training_neither_depends_on_pytorchs_global_generator_nor_touches_it",),
    ),
    Bug(
        "sums have the order that the number of threads gives",
        LOOP,
        "    torch.set_num_threads(1)\n",
        "",
        ("test_cohort.py::test_a_run_has_the_same_bits_again_on_any_number_of_threads_and_in_another_process",),
    ),
    # Plans
    Bug(
        "an epoch depends on where the iteration began",
        "plan.py",
        "number, skipped = divmod(first - 1, at_a_time)",
        "number, skipped = first - 1, 0",
        ("test_plan.py::test_an_epoch_is_the_same_wherever_the_iteration_began_and_whatever_block_it_is_drawn_with",),
    ),
    Bug(
        "every block of epochs has the same order",
        "plan.py",
        "shuffle(orders, self._generator(Purpose.SHUFFLE, number))",
        "shuffle(orders, self._generator(Purpose.SHUFFLE, 0))",
        ("test_plan.py::test_epochs_on_both_sides_of_a_block_border_are_all_different",),
    ),
    Bug(
        "the partners of a short last step are those of its first rows",
        "plan.py",
        "        shuffle(last, draw)\n",
        "",
        ("test_plan.py::test_every_place_of_a_step_is_every_other_places_partner_equally_often",),
    ),
    Bug(
        "epochs that ran ahead at an old rate are kept",
        "training.py",
        "if progress.stop_reason is not None or rates[i + 1] != next_rate:",
        "if progress.stop_reason is not None:",
        ("test_training.py::test_the_plateau_schedule_follows_pytorch_and_acts_from_the_next_epoch_on",),
    ),
    # Networks without PyTorch
    Bug(
        "a network's matrices are not turned for PyTorch",
        "program.py",
        'weight.reshape(d_in, each.d_out).T if each.kind == "linear" else weight',
        'weight.reshape(each.d_out, d_in) if each.kind == "linear" else weight',
        ("test_program.py::test_a_matrix_is_turned_between_the_vector_and_its_name",),
    ),
    Bug(
        "a network without PyTorch draws half the variance",
        "program.py",
        "bound = math.sqrt(6 / sum(view.shape))",
        "bound = math.sqrt(3 / sum(view.shape))",
        ("test_program.py::test_a_drawn_network_has_the_bits_of_the_drawn_module",),
    ),
    Bug(
        "a residual network has no dropout without PyTorch",
        "program.py",
        'main = builder.dropout(f"{path}.dropout", main, settings.dropout)',
        "pass",
        ("test_program.py::test_the_program_of_settings_is_that_of_their_module",),
    ),
    Bug(
        "a layer that stands in two places is used in one",
        "lower.py",
        "nn.Sequential: lambda module: module._modules.items(),",
        "nn.Sequential: lambda module: module.named_children(),",
        ("test_lower.py::test_a_layer_that_stands_in_two_places_is_used_in_both",),
    ),
    Bug(
        "frozen parameters are trained",
        "lower.py",
        "if not parameter.requires_grad:",
        "if False:",
        ("test_lower.py::test_a_frozen_parameter_is_refused_by_name",),
    ),
    Bug(
        "shared parameters are trained apart",
        "lower.py",
        "    if shared:\n",
        "    if False:\n",
        ("test_lower.py::test_a_shared_parameter_is_refused_by_name",),
    ),
    Bug(
        "a batch norm is folded into a layer that others read too",
        "forward.py",
        " and readers[sources[0]] == 1",
        "",
        ("test_forward.py::test_a_residual_block_whose_skipped_value_is_read_twice_keeps_it",),
    ),
    Bug(
        "rows are stored around zero",
        "prepare.py",
        "        origin = statistics.center\n",
        "",
        ("test_prepare.py::test_seconds_since_1970_are_told_apart_by_the_minute",),
    ),
    # Machine code
    Bug(
        "compiled mixup has hard labels",
        KERNELS,
        "                mix(target, with_whom, share, matrix(spare, 0, n, mass.shape[1]))\n",
        "",
        (ENGINES_AGREE,),
    ),
    Bug(
        "compiled AdamW decays everything",
        KERNELS,
        "p[i] -= (shrink if i < n_in_matrices else zero) * p[i]",
        "p[i] -= shrink * p[i]",
        (ENGINES_AGREE,),
    ),
    Bug(
        "compiled Adam does not correct its bias",
        KERNELS,
        "per_root_2 = p.dtype.type(1 / np.sqrt(1 - np.float64(beta2) ** step))",
        "per_root_2 = one",
        (ENGINES_AGREE,),
    ),
    Bug(
        "compiled stopping rows are passed in training mode",
        KERNELS,
        "forward(operations, constants, values, parameters, buffers, work, n, no, keys[e, 0])",
        "forward(operations, constants, values, parameters, buffers, work, n, yes, keys[e, 0])",
        (ENGINES_AGREE,),
    ),
    Bug(
        "a unit that is minus infinity makes NaN of its row",
        "engines/operations.py",
        "out[i] = zero if x[i] < zero else x[i]",
        "out[i] = x[i] if x[i] > zero else zero * x[i]",
        ("test_operations.py::test_relu_of_any_number_is_that_of_pytorch",),
    ),
    Bug(
        "all compiled layers have the same dropout mask",
        "engines/layout.py",
        'n_dropouts += each.kind == "dropout"',
        "n_dropouts += 0",
        (ENGINES_AGREE,),
    ),
    Bug(
        "a value that two operations read has the gradient of one",
        "engines/layout.py",
        "int(source not in written)",
        "1",
        (GRADIENTS,),
    ),
)


def copy_of_source(folder: Path) -> Path:
    """Return a copy of src in the folder, with the machine code that is kept beside it.

    That code is used again only where none of the files that are compiled is another one.
    """
    return Path(shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("*.pyc")))


def python(source: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with this copy of the package before the installed one."""
    environment = {**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)


def run_tests(source: Path, tests: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Run the tests against a copy of the source; first make sure that it is the one that is imported."""
    home = python(source, "-c", "import tabcohort; print(tabcohort.__file__)").stdout.strip()
    if not Path(home).is_relative_to(source):
        raise SystemExit(f"the tests would import {home!r} and not the copy in {str(source)!r}")
    return python(
        source, "-m", "pytest", "-x", "-p", "no:cacheprovider", "--tb=line", *(f"tests/{test}" for test in tests)
    )  # fmt: skip


def is_caught(bug: Bug) -> bool:
    """Put one bug back into a copy of the source, and return whether a test fails."""
    with tempfile.TemporaryDirectory() as folder:
        source = copy_of_source(Path(folder))
        file = source / "tabcohort" / bug.file
        text = file.read_text(encoding="utf-8")
        if text.count(bug.right) != 1:
            raise SystemExit(
                f"{bug.file} holds {bug.right!r} {text.count(bug.right)} times, not once: mend {bug.name!r}"
            )
        file.write_text(text.replace(bug.right, bug.wrong), encoding="utf-8")
        done = run_tests(source, bug.tests)
    if done.returncode not in (0, 1):  # 1 is a failed test; anything else says nothing about the bug
        raise SystemExit(f"pytest could not run the tests of {bug.name!r}:\n{done.stdout}{done.stderr}")
    return done.returncode == 1


def main(words: list[str]) -> int:
    """Try the bugs whose names hold one of the words, or all of them."""
    bugs = [bug for bug in BUGS if not words or any(word in bug.name for word in words)]
    tests = tuple(dict.fromkeys(test for bug in bugs for test in bug.tests))
    with tempfile.TemporaryDirectory() as folder:
        done = run_tests(copy_of_source(Path(folder)), tests)
    if done.returncode != 0:
        print(f"these tests must pass before bugs are put back:\n{done.stdout}{done.stderr}")
        return 1
    with ThreadPoolExecutor(AT_ONCE) as pool:
        missed = 0
        for bug, caught in zip(bugs, pool.map(is_caught, bugs), strict=True):
            print(f"{'caught    ' if caught else 'NOT CAUGHT'}  {bug.name}", flush=True)
            missed += not caught
    print(f"{len(bugs) - missed} of {len(bugs)} bugs are caught")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
