"""Put each known bug back into the source, without a change of its files, and show that a test catches it.

Run it as `python scripts/put_bugs_back.py`, or with words of the names of the bugs to try. One line is printed per
bug; the exit status is 1 if a bug is not caught.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from forked_tests import OPTIONS, ROOT, SOURCE, MutatedFile, import_heavy, in_fork, module_name, run_pytest

COMPILED = ("engines/compiled/", "network/ops.py", "network/trees.py")  # machine code has their constants
RUN = """
import sys
from pathlib import Path

import pytest
import tabcohort

if not Path(tabcohort.__file__).is_relative_to(sys.argv[1]):
    raise SystemExit(f"the tests would import {tabcohort.__file__!r}")
sys.exit(pytest.main(sys.argv[2:]))
"""


@dataclass(frozen=True)
class Bug:
    """One bug.

    Args:
        name: what is wrong, in words.
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


LOOP = "training/loop.py"
MEMBER = "training/member.py"
SPLITS = "data/splits.py"
BATCHES = "engines/batches.py"
TORCH = "engines/torch_loop.py"
KERNELS = "engines/compiled/kernels.py"
PROGRAM = "network/program.py"
ENCODER = "data/encoder.py"
BINS = "data/bins.py"
METRICS = "evaluation/metrics.py"

LOOP_TESTS = "training/test_loop.py::"
SPLIT_TESTS = "data/test_splits.py::"
ENCODER_TESTS = "data/test_encoder.py::"
BATCH_TESTS = "engines/test_batches.py::"
TORCH_TESTS = "engines/test_torch_loop.py::"
MASKS = "engines/test_torch_dropout.py::test_dropout_of_neighbours_layers_and_steps_is_uncorrelated"
PLAIN = TORCH_TESTS + "test_epochs_equal_a_plain_pytorch_loop"
ONE_BY_ONE = (
    "cohort/test_determinism.py::test_epochs_that_are_run_many_in_a_call_have_the_bits_of_those_that_are_run_one_by_one"
)
ENGINES_AGREE = "engines/test_parity.py::test_after_200_steps_with_everything_on_the_engines_agree"
GRADIENTS = "engines/test_parity.py::test_every_gradient_is_that_of_autograd_and_of_central_differences"

BUGS = (
    # Best weights and early stopping
    Bug(
        "the best weights are the ones that training goes on writing, in PyTorch",
        TORCH,
        "tensor.detach().cpu().numpy().copy()",
        "tensor.detach().cpu().numpy()",
        (
            LOOP_TESTS + "test_best_weights_are_the_ones_that_scored_best",
            LOOP_TESTS + "test_best_weights_share_no_storage_with_what_training_goes_on_writing",
        ),
    ),
    Bug(
        "the best weights are the ones that training goes on writing, in the compiled engine",
        "engines/compiled/engine.py",
        "return {name: array.copy() for name, array in self._state.items()}",
        "return dict(self._state)",
        (ONE_BY_ONE,),
    ),
    Bug(
        "the last weights are kept",
        LOOP,
        "    engine.restore(state.best_state)\n",
        "",
        ("cohort/test_determinism.py::test_the_trained_module_has_the_weights_that_scored_best",),
    ),
    Bug(
        "the buffers are those of the last epoch",
        TORCH,
        "for name, tensor in self._tensors.items()}",
        'for name, tensor in self._tensors.items() if name[:6] != "buffer"}',
        (LOOP_TESTS + "test_buffers_are_those_of_the_best_epoch_too",),
    ),
    Bug(
        "a buffer that the module replaces is not noticed",
        TORCH,
        "        self._check_buffers()\n",
        "",
        (TORCH_TESTS + "test_a_module_that_replaces_its_buffer_is_an_error_that_names_it",),
    ),
    Bug(
        "ties keep the latest epoch",
        LOOP,
        "return score < best if config.lower_is_better else score > best",
        "return score <= best if config.lower_is_better else score >= best",
        (LOOP_TESTS + "test_ties_keep_the_earliest_epoch",),
    ),
    Bug(
        "a higher score is always better",
        LOOP,
        "return score < best if config.lower_is_better else score > best",
        "return score > best",
        (LOOP_TESTS + "test_the_monitored_metric_chooses_the_epoch",),
    ),
    Bug(
        "Ctrl-C leaves the last weights",
        LOOP,
        'state = replace(state, stop_reason="interrupted")',
        'return replace(state, stop_reason="interrupted")',
        (LOOP_TESTS + "test_ctrl_c_keeps_the_best_so_far",),
    ),
    Bug(
        "training continues with a loss that is not finite",
        LOOP,
        "if not result.is_finite:",
        "if False:",
        (LOOP_TESTS + "test_a_loss_that_is_not_finite_names_epoch_and_step",),
    ),
    Bug(
        "a metric that the validation rows cannot determine is monitored",
        "engines/validation.py",
        "if math.isnan(value):",
        "if False:",
        (LOOP_TESTS + "test_a_metric_that_the_validation_rows_cannot_determine_is_an_error",),
    ),
    # Splits
    Bug(
        "a row may train and test",
        SPLITS,
        "if np.bincount(everyone).max(initial=0) > 1:",
        "if False:",
        (SPLIT_TESTS + "test_a_row_may_be_in_one_part_only",),
    ),
    Bug(
        "duplicates of a row are split like different rows",
        SPLITS,
        "starts = np.concatenate([[False], ordered[1:] != ordered[:-1]])",
        "starts = np.arange(len(ordered)) > 0",
        (SPLIT_TESTS + "test_equal_rows_are_in_one_part_whatever_their_class",),
    ),
    Bug(
        "rows of one group are in different parts",
        SPLITS,
        "labels = _labels_of_blocks(hashes, table.group_ids)",
        "labels = hashes",
        (SPLIT_TESTS + "test_rows_of_one_group_are_in_one_part_and_so_are_equal_rows",),
    ),
    Bug(
        "the split depends on the order of the rows",
        SPLITS,
        "hashes = row_hashes(table, seed)",
        "hashes = np.arange(len(table.y), dtype=np.uint64)",
        (SPLIT_TESTS + "test_the_split_does_not_depend_on_the_order_of_the_rows",),
    ),
    Bug(
        "a row of weight two splits like one row",
        SPLITS,
        "np.bincount(block, weights=weight).astype(np.float64)",
        "np.bincount(block).astype(np.float64)",
        (SPLIT_TESTS + "test_a_row_of_weight_two_splits_like_two_rows",),
    ),
    Bug(
        "a model is tested on rows that it trained on",
        "cohort/members.py",
        "_logits(model, table, split.test)",
        "_logits(model, table, split.train[: len(split.test)])",
        ("cohort/test_fit.py::test_no_row_that_trains_or_validates_is_tested",),
    ),
    Bug(
        "columns are standardized by all rows",
        MEMBER,
        "statistics, inner = fit_statistics(table.numbers, row_weight, rows), None",
        "statistics, inner = fit_statistics(table.numbers, table.weight), None",
        ("cohort/test_members.py::test_columns_are_standardized_by_the_training_rows_alone",),
    ),
    Bug(
        "bins of numbers are fitted on all rows",
        BINS,
        "cells = numbers[rows, place] if n_own else np.empty(0)",
        "rows, weight = np.arange(len(numbers)), np.ones(len(numbers)); "
        "cells = numbers[rows, place] if n_own else np.empty(0)",
        ("data/test_bins.py::test_bins_are_fitted_on_training_rows_only",),
    ),
    Bug(
        "a bin may read a column that there is not",
        PROGRAM,
        "if len(wrong):",
        "if False:",
        ("model/test_file.py::test_a_bin_of_a_column_that_there_is_not_is_refused",),
    ),
    # Cohorts
    Bug(
        "all members have the same random streams",
        MEMBER,
        "has_batch_norm, config.seed, member\n",
        "has_batch_norm, config.seed, 0\n",
        ("training/test_member.py::test_each_member_has_random_streams_of_its_own",),
    ),
    Bug(
        "rows are tested by an ensemble that was chosen on them",
        "cohort/selection.py",
        "choose_ensemble(weighted), cross_fit(weighted)",
        "choose_ensemble(weighted), (mean_log_proba(weighted, choose_ensemble(weighted).weights),) * 2",
        ("cohort/test_fit.py::test_what_is_reported_of_a_row_was_not_chosen_by_it",),
    ),
    Bug(
        "rows are tested by a threshold that was chosen on them",
        "evaluation/evaluate.py",
        "y_pred = cross_fit_threshold(parse_objective(rule.objective), predictions.as_float64(), positive)",
        "y_pred = np.where(np.exp(predictions.log_proba[:, positive]) >= rule.threshold, positive, 1 - positive)",
        ("model/test_predictor.py::test_the_thresholds_that_a_row_is_measured_by_are_chosen_on_other_rows",),
    ),
    Bug(
        "rows are tested by set thresholds that were chosen on them",
        "evaluation/prediction_sets.py",
        "_thresholds(own[outside], y[outside], weight[outside], coverage, n_classes)",
        "_thresholds(own, y, weight, coverage, n_classes)",
        ("model/test_predictor.py::test_the_thresholds_that_a_row_is_measured_by_are_chosen_on_other_rows",),
    ),
    Bug(
        "a member that paused resumes with the state of its best epoch",
        LOOP,
        "stop_reason=reason, engine_state=engine.snapshot()",
        "stop_reason=reason, engine_state=state.best_state",
        ("cohort/test_fit.py::test_a_budget_that_suffices_changes_no_bit",),
    ),
    Bug(
        "a member that a checkpoint holds runs past its pause",
        LOOP,
        "            state = replace(state, stop_reason=callback(state))\n",
        "            pass\n",
        (LOOP_TESTS + "test_a_callback_is_called_before_the_first_epoch_of_a_training_that_resumes",),
    ),
    Bug(
        "a checkpoint does not know which member it belongs to",
        "cohort/members.py",
        'engine, f"member {member.number}")',
        'engine, "")',
        ("training/test_checkpoint.py::test_a_checkpoint_of_another_member_is_refused",),
    ),
    Bug(
        "networks weigh the same however small the weight of their config",
        "model/predictor.py",
        "report.configs[config].weight / configs.count(config)",
        "1 / configs.count(config)",
        ("model/test_predictor.py::test_networks_of_configs_with_a_greater_weight_count_for_more",),
    ),
    Bug(
        "a model file whose members have no weight is read",
        "model/file.py",
        "if not all(report.configs[report.members[number].config].weight > 0 for number in members):",
        "if False:",
        ("model/test_file.py::test_a_document_that_does_not_fit_is_refused",),
    ),
    Bug(
        "a day that may be a month is a time",
        "data/frames.py",
        "order = date_order(as_text(column)) if column.dtype == pl.String else None",
        "order = MONTH_FIRST if column.dtype == pl.String else None",
        ("data/test_frames.py::test_a_time_that_is_none_is_named_by_its_row",),
    ),
    # Typed columns and encoding
    Bug(
        "statistics write into the first training row",
        ENCODER,
        "shift = X[rows[0]].copy()",
        "shift = X[rows[0]]",
        ("test_estimator.py::test_training_changes_no_cell",),
    ),
    Bug(
        "a training row sees its own label in target statistics",
        ENCODER,
        "(total, *(total - counts[own] for own in range(n_folds)))",
        "(total, *(total for own in range(n_folds)))",
        (ENCODER_TESTS + "test_a_training_row_has_the_target_statistics_of_the_other_inner_folds",),
    ),
    Bug(
        "equal rows are in two inner folds",
        ENCODER,
        "block = np.cumsum(training.starts_block) - 1",
        "block = np.arange(len(training.rows))",
        (ENCODER_TESTS + "test_a_block_of_rows_is_in_one_inner_fold",),
    ),
    Bug(
        "training rows read the target statistics of all training rows",
        "engines/reading.py",
        "fold=np.empty(0, np.int8) if inner is None else inner.fold,",
        "fold=np.empty(0, np.int8),",
        ("engines/test_reading.py::test_training_rows_read_the_lookup_of_their_inner_fold",),
    ),
    Bug(
        "mixup mixes the numbers of rows of learned vectors",
        KERNELS,
        "        for j in range(n_mixed, batch.shape[1]):\n            batch[i, j] = spare[i, j] if own >= 0.5",
        "        for j in range(n_mixed, batch.shape[1]):\n            batch[i, j] = own * spare[i, j] if own >= 0.5",
        ("engines/compiled/test_kernels.py::test_rows_of_learned_vectors_are_those_of_the_heavier_row",),
    ),
    Bug(
        "two operations have one code",
        "network/program_checks.py",
        "if spec.code == op.spec.code and kind != op.kind]",
        "if False]",
        ("network/test_ops.py::test_two_operations_of_one_code_are_refused",),
    ),
    # Batches
    Bug(
        "batch norm meets a last batch of one row",
        BATCHES,
        "if self.needs_pairs and len(bounds) > 2 and bounds[-1] - bounds[-2] == 1:",
        "if False:",
        (BATCH_TESTS + "test_with_batch_norm_every_row_is_used_once_and_no_batch_has_one_row",),
    ),
    Bug(
        "repeated rows are merged under batch norm",
        MEMBER,
        "if has_batch_norm:  # its",
        "if False:  # its",
        ("training/test_member.py::test_batch_norm_has_the_mean_of_all_training_rows_also_where_many_are_equal",),
    ),
    Bug(
        "the short batch is dropped",
        BATCHES,
        "np.append(np.arange(0, self.n_rows, self.batch_size), self.n_rows)",
        "np.arange(0, self.n_rows + 1, self.batch_size)",
        (BATCH_TESTS + "test_without_batch_norm_the_short_batch_is_used",),
    ),
    Bug(
        "no update is possible, and there is no error",
        BATCHES,
        "if self.needs_pairs and min(self.n_rows, self.batch_size) < 2:",
        "if False:",
        (BATCH_TESTS + "test_batch_norm_without_two_rows_in_a_step_is_an_error",),
    ),
    Bug(
        "the epoch loss is a mean of batch means",
        TORCH,
        "step_losses = losses.cpu().numpy().astype(np.float64)",
        "step_losses = losses.cpu().numpy() / np.diff(batches.bounds) * len(batches.order) / batches.n_steps",
        (LOOP_TESTS + "test_the_training_loss_at_rate_zero_is_one_full_pass",),
    ),
    Bug(
        "gradients add up from step to step",
        TORCH,
        "self.parameters.gradient.zero_()",
        "pass",
        (PLAIN,),
    ),
    # Metrics
    Bug(
        "the positive class is always the first",
        METRICS,
        "positive = self.scorer.positive\n",
        "positive = 0\n",
        (
            "evaluation/test_evaluate.py::test_naming_the_other_class_swaps_sensitivity_with_specificity",
            "evaluation/test_evaluate.py::test_sensitivity_is_of_the_named_class",
        ),
    ),
    Bug(
        "ties count as wins in ROC AUC",
        "evaluation/ranking.py",
        "(hits * (n_misses - misses_so_far + misses / 2)).sum()",
        "(hits * (n_misses - misses_so_far + misses)).sum()",
        ("evaluation/test_metrics.py::test_metrics_of_two_classes_are_those_of_scikit_learn",),
    ),
    Bug(
        "accuracy's interval is Wald's, which collapses without errors",
        "evaluation/intervals.py",
        "rate * (1 - rate) / trials + z2 / (4 * trials)",
        "rate * (1 - rate) / trials",
        ("evaluation/test_intervals.py::test_wilson_gives_the_published_interval",),
    ),
    Bug(
        "rows of one patient count as independent in intervals",
        "evaluation/evaluate.py",
        "if group_ids.max() + 1 < len(group_ids):",
        "if False:",
        ("evaluation/test_evaluate.py::test_rows_that_are_there_four_times_say_as_much_as_once",),
    ),
    Bug(
        "a single error in few groups makes an interval narrower than none",
        "evaluation/intervals.py",
        "        min(all_equal, ratio * _small_sample_factor(n_influential)),\n",
        "",
        ("evaluation/test_evaluate.py::test_an_error_makes_an_interval_no_better",),
    ),
    Bug(
        "Ctrl-C after the last network loses all of them",
        "cohort/interrupts.py",
        "with _handling_interrupts(_warn):",
        "if True:",
        ("cohort/test_interrupts.py::test_a_function_that_is_interrupted_once_finishes_with_a_warning",),
    ),
    Bug(
        "log probabilities are logarithms of probabilities",
        METRICS,
        "return -np.logaddexp(0.0, np.hstack([values, -values]))",
        "return -np.log(1 + np.exp(np.hstack([values, -values])))",
        ("evaluation/test_metrics.py::test_extreme_logits_give_finite_log_probabilities",),
    ),
    # Losses
    Bug(
        "the loss of two classes is computed from probabilities",
        TORCH,
        'return F.binary_cross_entropy_with_logits(logits, soft_targets[:, 1:], reduction="sum")',
        'return F.binary_cross_entropy(torch.sigmoid(logits), soft_targets[:, 1:], reduction="sum")',
        (
            "engines/test_torch_loss.py::test_extreme_logits_of_two_classes_give_finite_losses_and_right_gradients",
            "engines/test_torch_loss.py::test_a_confident_mistake_still_has_a_gradient",
        ),
    ),
    Bug(
        "the loss of more classes is computed from probabilities",
        TORCH,
        'return F.cross_entropy(logits, soft_targets, reduction="sum")',
        "return -(soft_targets * logits.softmax(dim=1).log()).sum()",
        ("engines/test_torch_loss.py::test_extreme_logits_of_more_classes_give_finite_losses_and_right_gradients",),
    ),
    Bug(
        "logits of one dimension are compared with a column",
        "engines/protocol.py",
        "if shape not in allowed:",
        "if False:",
        (TORCH_TESTS + "test_logits_of_another_shape_are_an_error",),
    ),
    Bug(
        "mixup has hard labels",
        TORCH,
        "targets = torch.lerp(other_targets, targets, mix)",
        "pass",
        (TORCH_TESTS + "test_a_mixed_step_trains_on_mixed_inputs_with_mixed_targets",),
    ),
    Bug(
        "mixup weights are uniform",
        BATCHES,
        "rng.beta(self.mixup_alpha, self.mixup_alpha, mixes.shape)",
        "rng.random(mixes.shape)",
        (BATCH_TESTS + "test_mixup_weights_are_beta_distributed",),
    ),
    Bug(
        "every batch is mixed",
        BATCHES,
        "rng.random(mixes.shape) < self.mixup_probability",
        "rng.random(mixes.shape) < 1",
        (BATCH_TESTS + "test_steps_are_mixed_with_the_given_probability",),
    ),
    Bug(
        "label smoothing leaves out the row's own class",
        "training/streamed_member.py",
        "weight[:, None] * label_smoothing / n_classes",
        "weight[:, None] * label_smoothing / (n_classes - 1)",
        ("training/test_member.py::test_the_soft_target_of_a_row_is_its_smoothed_target_times_its_weight",),
    ),
    Bug(
        "equal rows lose their weight when they are merged",
        SPLITS,
        "np.add.reduceat(table.weight[rows], np.flatnonzero(first))",
        "table.weight[rows[first]]",
        (
            SPLIT_TESTS + "test_merged_rows_are_different_and_keep_the_total_weight",
            "cohort/test_determinism.py::test_sample_weights_equal_repeated_rows_to_the_bit",
        ),
    ),
    Bug(
        "balanced class weights forget the number of classes",
        MEMBER,
        "np.divide(totals.sum(), n_classes * totals,",
        "np.divide(totals.sum(), totals,",
        ("training/test_member.py::test_balanced_class_weights_are_those_of_scikit_learn",),
    ),
    # Schedules and optimizers
    Bug(
        "the schedule is one epoch ahead",
        "training/schedule.py",
        "n_done, base = epoch - 1, config.learning_rate",
        "n_done, base = epoch, config.learning_rate",
        (
            "training/test_schedule.py::test_step_is_that_of_pytorch",
            "training/test_schedule.py::test_cosine_is_that_of_pytorch",
            "training/test_schedule.py::test_one_cycle_is_that_of_pytorch",
        ),
    ),
    Bug(
        "the plateau schedule takes every metric for a loss",
        "training/schedule.py",
        "is_better = score < self.best - margin if config.lower_is_better else score > self.best + margin",
        "is_better = score < self.best - margin",
        ("training/test_schedule.py::test_plateau_is_that_of_pytorch",),
    ),
    Bug(
        "the history records another rate than the one used",
        LOOP,
        "EpochRecord(epoch, rates[epoch - 1], *result[2:]",
        "EpochRecord(epoch, config.learning_rate, *result[2:]",
        (LOOP_TESTS + "test_the_history_records_the_rate_really_used",),
    ),
    Bug(
        "biases and normalisation decay",
        TORCH,
        "matrices = slice(self.parameters.n_in_matrices)",
        "matrices = slice(None)",
        (TORCH_TESTS + "test_vectors_do_not_decay_and_matrices_do",),
    ),
    Bug(
        "gradients are not clipped",
        TORCH,
        "        self._clip()\n",
        "",
        (TORCH_TESTS + "test_clipping_is_by_the_global_norm_as_in_pytorch",),
    ),
    Bug(
        "AdamW is Adam",
        TORCH,
        'if weight_decay > 0 and config.optimizer == "adamw":',
        "if False:",
        (PLAIN,),
    ),
    Bug(
        "initial weights have half the variance",
        "network/models.py",
        "bound = math.sqrt(6 / sum(size))",
        "bound = math.sqrt(3 / sum(size))",
        ("network/test_models.py::test_weights_lie_within_the_bound_of_glorot_and_have_its_spread",),
    ),
    # Modes, masks and bits
    Bug(
        "validation rows are passed in training mode",
        TORCH,
        "    module.eval()\n    return torch.cat(",
        "    return torch.cat(",
        (
            TORCH_TESTS + "test_validation_rows_are_passed_in_evaluation_mode",
            "cohort/test_determinism.py::test_the_prediction_for_a_row_does_not_depend_on_the_rows_beside_it",
        ),
    ),
    Bug(
        "training continues in evaluation mode after the first epoch",
        TORCH,
        "        self.module.train()\n",
        "",
        (TORCH_TESTS + "test_epochs_with_batch_norm_and_clipping_equal_a_plain_pytorch_loop",),
    ),
    Bug(
        "every step has the same dropout mask",
        TORCH,
        "self.key, self.n_calls, self.first_row = key, 0, first_row",
        "self.key, self.n_calls, self.first_row = 12345, 0, first_row",
        (MASKS, "engines/test_torch_dropout.py::test_dropout_masks_are_those_of_their_key"),
    ),
    Bug(
        "every layer has the same dropout mask",
        TORCH,
        "as_int32(self.key + layer * HASH_OF_LAYER)",
        "as_int32(self.key)",
        (MASKS,),
    ),
    Bug(
        "dropout stays hashed after training",
        TORCH,
        "                del layer.forward\n",
        "                pass\n",
        ("engines/test_torch_dropout.py::test_dropout_layers_are_pytorchs_own_again_afterwards",),
    ),
    Bug(
        "training reseeds PyTorch for everyone",
        TORCH,
        "with torch.random.fork_rng():",
        "if True:",
        ("training/test_module.py::test_training_neither_depends_on_pytorchs_global_generator_nor_touches_it",),
    ),
    Bug(
        "random layers use PyTorch's global state",
        TORCH,
        "        torch.default_generator.manual_seed(key ^ rank)\n",
        "",
        ("training/test_module.py::test_training_neither_depends_on_pytorchs_global_generator_nor_touches_it",),
    ),
    Bug(
        "sums have the order that the number of threads gives",
        TORCH,
        "    torch.set_num_threads(1)\n",
        "",
        (
            "cohort/test_determinism.py::test_a_run_has_the_same_bits_again_on_any_number_of_threads_and_in_another_process",
        ),
    ),
    # Blocks of epochs
    Bug(
        "an epoch depends on where the iteration began",
        BATCHES,
        "number, start = divmod(first - 1, self.plan.epochs_per_draw)",
        "number, start = first - 1, 0",
        (BATCH_TESTS + "test_an_epoch_is_the_same_wherever_the_iteration_began_and_whatever_block_it_is_drawn_with",),
    ),
    Bug(
        "every block of epochs has the same order",
        BATCHES,
        "shuffle(orders, self._rng(Purpose.SHUFFLE, number))",
        "shuffle(orders, self._rng(Purpose.SHUFFLE, 0))",
        (BATCH_TESTS + "test_epochs_on_both_sides_of_a_block_border_are_all_different",),
    ),
    Bug(
        "the partners of a short last step are those of its first rows",
        BATCHES,
        "        shuffle(last, rng)\n",
        "",
        (BATCH_TESTS + "test_every_place_of_a_step_is_every_other_places_partner_equally_often",),
    ),
    Bug(
        "epochs that ran ahead at an old rate are kept",
        "engines/compiled/engine.py",
        "if self._n_taken == place < len(self._results) and self._rates[place] == rates[epoch - 1]:",
        "if self._n_taken == place < len(self._results):",
        (ONE_BY_ONE,),
    ),
    # Networks without PyTorch
    Bug(
        "a network's matrices are not transposed for PyTorch",
        PROGRAM,
        "reshape(shape[::-1]).T",
        "reshape(shape)",
        ("network/test_program.py::test_a_matrix_is_transposed_between_the_vector_and_its_name",),
    ),
    Bug(
        "a network without PyTorch has initial weights of half the variance",
        PROGRAM,
        "bound = math.sqrt(6 / sum(view.shape))",
        "bound = math.sqrt(3 / sum(view.shape))",
        ("network/test_program.py::test_a_random_network_has_the_bits_of_the_random_module",),
    ),
    Bug(
        "a residual network has no dropout without PyTorch",
        PROGRAM,
        'main = builder.dropout(f"{path}.dropout", main, config.dropout)',
        "pass",
        ("network/test_program.py::test_the_program_of_a_config_is_that_of_its_module",),
    ),
    Bug(
        "a layer in two places is used in one",
        "network/lower.py",
        "nn.Sequential: lambda module: module._modules.items(),",
        "nn.Sequential: lambda module: module.named_children(),",
        ("network/test_lower.py::test_a_layer_in_two_places_is_used_in_both",),
    ),
    Bug(
        "frozen parameters are trained",
        "network/lower.py",
        "if not parameter.requires_grad:",
        "if False:",
        ("network/test_lower.py::test_a_frozen_parameter_is_refused_by_name",),
    ),
    Bug(
        "shared parameters are trained apart",
        "network/lower.py",
        "    if shared:\n",
        "    if False:\n",
        ("network/test_lower.py::test_a_shared_parameter_is_refused_by_name",),
    ),
    Bug(
        "a batch norm is folded into a layer that others read too",
        "engines/compiled/inference.py",
        " and n_uses[sources[0]] == 1",
        "",
        ("engines/compiled/test_inference.py::test_a_residual_block_whose_skipped_value_is_read_twice_keeps_it",),
    ),
    Bug(
        "rows are stored around zero",
        "data/encoder.py",
        "        origin = statistics.center\n",
        "",
        ("data/test_encoder.py::test_seconds_since_1970_keep_their_minutes",),
    ),
    # Machine code
    Bug(
        "compiled mixup has hard labels",
        KERNELS,
        "                mix(target, with_whom, own, matrix(spare, 0, n, targets.shape[1]), targets.shape[1])\n",
        "",
        (ENGINES_AGREE,),
    ),
    Bug(
        "compiled AdamW decays everything",
        KERNELS,
        "decays[e] * group_decays[k]",
        "decays[e]",
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
        "compiled validation rows are passed in training mode",
        KERNELS,
        "forward(forwards, operations, everything, fixed, values, parameters, buffers, work, n, no, keys[e, 0])",
        "forward(forwards, operations, everything, fixed, values, parameters, buffers, work, n, yes, keys[e, 0])",
        (ENGINES_AGREE,),
    ),
    Bug(
        "a unit that is minus infinity makes NaN of its row",
        "engines/compiled/activations.py",
        "out[i] = zero if x[i] < zero else x[i]",
        "out[i] = x[i] if x[i] > zero else zero * x[i]",
        ("engines/compiled/test_activations.py::test_relu_of_any_number_is_that_of_pytorch",),
    ),
    Bug(
        "all compiled layers have the same dropout mask",
        "engines/compiled/layout.py",
        'n_dropouts += op.kind == "dropout"',
        "n_dropouts += 0",
        (ENGINES_AGREE,),
    ),
    Bug(
        "a value that two operations read has the gradient of one",
        "engines/compiled/layout.py",
        "int(source not in written)",
        "1",
        (GRADIENTS,),
    ),
    # The server
    Bug(
        "a server that ends closes connections that are still used",
        "server/processes.py",
        "IDLE_POLLS = 20",
        "IDLE_POLLS = 3",
        ("server/test_processes.py::test_open_connections_are_answered_until_no_request_comes",),
    ),
    Bug(
        "a signal that comes while a server starts is forgotten",
        "server/processes.py",
        "for number in self._early:",
        "for number in ():",
        ("server/test_processes.py::test_what_comes_while_it_starts_is_answered_before_a_signal_ends_it",),
    ),
    Bug(
        "only packed bytes of bodies in progress are counted",
        "server/http_bodies.py",
        "max(0, len(data) - len(body))",
        "0",
        ("server/test_middleware.py::test_bodies_are_refused_where_all_together_are_too_large",),
    ),
    Bug(
        "a new version of a model need not fit the mapping of medical records",
        "server/model_store.py",
        "if model.name in self._checks:",
        "if False:",
        ("server/medical/test_medical_records.py",),
    ),
    Bug(
        "intervals of importances know nothing of folds",
        "model/importance.py",
        "math.sqrt((estimate.high - estimate.value) ** 2 + between)",
        "estimate.high - estimate.value",
        ("model/test_importance.py::test_intervals_are_wider_where_folds_differ",),
    ),
    Bug(
        "the validation rows of networks forget the weights of their classes",
        MEMBER,
        "ValidationSet(rows, y, weight * factor[y], table.schema.positive)",
        "ValidationSet(rows, y, weight, table.schema.positive)",
        ("training/test_member.py::test_training_and_validation_rows_have_the_weights_of_their_classes",),
    ),
    Bug(
        "the validation rows of trees forget the weights of their classes",
        "training/boosting.py",
        "validation_set(table, split, factor)",
        "validation_set(table, split, np.ones(len(factor)))",
        (
            "training/test_boosting.py::"
            "test_the_history_is_measured_on_the_validation_rows_and_weighs_classes_as_training_does",
        ),
    ),
    # Choosing
    Bug(
        "configs are dropped by their last loss",
        "cohort/runner.py",
        "min(record.val_loss for record in history)",
        "history[-1].val_loss",
        ("cohort/test_runner.py::test_a_config_is_ranked_by_its_best_epochs_also_where_its_members_finished_already",),
    ),
    Bug(
        "the calibrator of a large table is fitted on its first rows",
        "evaluation/calibration.py",
        "sample_rows(n_rows, min(MAX_ROWS, max(MIN_ROWS, MAX_PROBABILITIES // n_classes)))",
        "np.arange(min(n_rows, MAX_ROWS))",
        (
            "evaluation/test_calibration.py::"
            "test_the_sample_of_a_table_is_of_both_classes_in_whatever_order_the_rows_are",
        ),
    ),
    Bug(
        "an ensemble for a large table is chosen on its first rows",
        "cohort/selection.py",
        "sample_rows(len(positions), MAX_ROWS)",
        "np.arange(min(len(positions), MAX_ROWS))",
        ("cohort/test_selection.py::test_the_sample_that_chooses_is_of_both_classes_in_whatever_order_the_rows_are",),
    ),
    Bug(
        "the weights of an ensemble are those of the last round",
        "cohort/selection.py",
        "return best / best.sum()",
        "return counts / counts.sum()",
        ("cohort/test_selection.py::test_the_weights_are_those_of_the_best_round_and_not_of_the_last",),
    ),
    # Watching
    Bug(
        "the page of a training answers to any Host",
        "live/live_server.py",
        "len(hosts) == 1 and",
        "len(hosts) == 1 or",
        ("live/test_live_server.py::test_another_host_is_refused",),
    ),
    Bug(
        "a recording overwrites any file",
        "live/recording.py",
        'if head not in (b"", FIRST):',
        "if False:",
        ("live/test_recording.py::test_another_file_is_never_overwritten",),
    ),
    Bug(
        "gradients of momentum are its sum",
        "engines/layers.py",
        "moment * ((1 - decay) / total",
        "moment * (1 / total",
        ("engines/test_layers.py::test_the_average_of_equal_gradients_is_that_gradient",),
    ),
    Bug(
        "epochs that are told together are one event",
        "live/events.py",
        "state.history[n_before:]",
        "state.history[-1:]",
        ("live/test_events.py::test_epochs_that_are_told_together_are_events_of_their_own_and_told_once",),
    ),
    # Experiments
    Bug(
        "a checkpoint of a table with missing cells is refused",
        "training/checkpoint.py",
        "(np.isfinite(array) != np.isfinite(expected[name])).any()",
        "(~np.isfinite(array)).any()",
        ("training/test_checkpoint.py::test_a_table_with_categories_and_missing_cells_resumes_to_the_same_bits",),
    ),
    Bug(
        "a history of a model file may have NaN",
        "plain_values.py",
        " and not math.isnan(sum(values))",
        "",
        ("test_plain_values.py::test_what_does_not_fit_is_named_by_its_path",),
    ),
    Bug(
        "a shallow copy is measured in an engine that does not write into the module",
        "reproduce/cancer_runs.py",
        'config = replace(config, engine="torch", seed=seed)',
        "config = replace(config, seed=seed)",
        ("reproduce/test_cancer_runs.py::test_what_a_shallow_copy_restores_has_the_loss_of_the_last_epoch",),
    ),
    # Tables larger than memory
    Bug(
        "rows of a store that repeat are others",
        "data/table_store.py",
        "read if (gaps[start : stop - 1] == 1).all() else read[rows[start:stop] - first]",
        "read if n_rows == stop - start else read[rows[start:stop] - first]",
        ("data/test_table_store.py::test_rows_are_taken_in_any_order_whatever_lies_between_them",),
    ),
    Bug(
        "steps of each part of an epoch are counted from its first",
        "engines/compiled/engine.py",
        "(block.first - 1) * n_steps + steps.start,",
        "(block.first - 1) * n_steps,",
        ("training/test_streamed_member.py::test_a_network_does_not_depend_on_the_parts_that_its_rows_are_read_in",),
    ),
    Bug(
        "results are lost while a bar is shown",
        "reporting/progress_displays.py",
        "disable=not self._is_live, redirect_stdout=False,",
        "disable=not self._is_live,",
        ("reporting/test_progress_displays.py::test_results_are_written_while_a_bar_is_shown",),
    ),
    Bug(
        "a store of another table is replaced",
        "data/stream_table.py",
        'if header.get("source") != identity["source"]:',
        "if False:",
        ("data/test_stream_table.py::test_a_store_of_another_table_is_not_replaced",),
    ),
    Bug(
        "a full disk ends what only compiles a kernel",
        "machine_code.py",
        "except OSError as error:",
        "except BlockingIOError as error:",
        ("test_machine_code.py::test_each_reason_is_said_once",),
    ),
)


def fork_fails(bug: Bug) -> bool:
    """Return whether a test fails in a fork that imports the file with the bug."""
    path = SOURCE / bug.file

    def status() -> int:
        sys.meta_path.insert(0, MutatedFile(module_name(path), path, with_bug(bug).encode()))
        return run_pytest([f"tests/{test}" for test in bug.tests])

    return in_fork(status) == pytest.ExitCode.TESTS_FAILED


def copy_fails(bug: Bug) -> bool:
    """Return whether a test fails in a new process that imports a copy of the source with the bug.

    Raises:
        SystemExit: the tests could not be run.
    """
    with tempfile.TemporaryDirectory() as folder:  # with the machine code that is kept beside the source
        source = Path(shutil.copytree(SOURCE.parent, Path(folder) / "src", ignore=shutil.ignore_patterns("*.pyc")))
        (source / "tabcohort" / bug.file).write_text(with_bug(bug), encoding="utf-8")
        environment = {**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", RUN, str(source), *OPTIONS, *(f"tests/{test}" for test in bug.tests)]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise SystemExit(f"pytest could not run the tests of {bug.name!r}:\n{done.stdout}{done.stderr}")
    return done.returncode == pytest.ExitCode.TESTS_FAILED


def with_bug(bug: Bug) -> str:
    """Return the text of a bug's file with the bug.

    Raises:
        SystemExit: the file does not have the right text, or has it more than once.
    """
    text = (SOURCE / bug.file).read_text(encoding="utf-8")
    if text.count(bug.right) != 1:
        raise SystemExit(
            f"{bug.file} holds {bug.right!r} {text.count(bug.right)} times, not once: fix the entry {bug.name!r}"
        )
    return text.replace(bug.right, bug.wrong)


def is_caught(bug: Bug) -> bool:
    """Return whether a test catches a bug.

    A copy of the source takes longer than a fork. It is needed where functions are compiled, and where a test starts
    processes.
    """
    return (not bug.file.startswith(COMPILED) and fork_fails(bug)) or copy_fails(bug)


def tests_pass(tests: Sequence[str]) -> bool:
    """Return whether tests pass without a bug, and print what pytest says if they do not."""
    with tempfile.NamedTemporaryFile("r") as output:
        status = in_fork(lambda: run_pytest([f"tests/{test}" for test in tests], output=output.name))
        if status != pytest.ExitCode.OK:
            print(f"these tests must pass before bugs are put back:\n{output.read()}")
        return status == pytest.ExitCode.OK


def main(arguments: list[str]) -> int:
    """Try the bugs whose names hold one of the words, or all of them."""
    parser = argparse.ArgumentParser(description="Put bugs back into the source, and show that tests catch them.")
    parser.add_argument("words", metavar="WORD", nargs="*", help="of the names of the bugs to try (all)")
    words = parser.parse_args(arguments).words
    bugs = [bug for bug in BUGS if not words or any(word in bug.name for word in words)]
    if not bugs:
        parser.error(f"no bug has a name with {' or '.join(map(repr, words))}")
    import_heavy()
    if not tests_pass(list(dict.fromkeys(test for bug in bugs for test in bug.tests))):
        return 1
    n_caught = 0
    for bug in bugs:
        caught = is_caught(bug)
        n_caught += caught
        print(f"{'caught    ' if caught else 'NOT CAUGHT'}  {bug.name}", flush=True)
    print(f"{n_caught} of {len(bugs)} bugs are caught")
    return int(n_caught < len(bugs))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
