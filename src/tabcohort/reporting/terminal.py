"""What the terminal shows: a model's facts (see `tabcohort.model.facts`), and how far training is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tabcohort.errors import listed, printable
from tabcohort.reporting.plain_text import counted

MAX_COEFFICIENTS = 8
MAX_CLASSES, MAX_CONFUSED, MAX_NEVER_PREDICTED = 12, 5, 3
MAX_FEATURES = 8
MAX_MISSED_COVERAGE = 0.02  # of prediction sets, that needs no explanation
MAX_CONFIGS = 12
MAX_KINDS = 3
ALTERNATIVE_LABELS = {
    "shares": "the class frequencies", "logistic": "logistic regression", "trees": "boosted trees",
    "network": "the best network",
}  # fmt: skip
DECISION_METRICS = ("sensitivity", "specificity", "precision", "accuracy")  # that a decision rule changes
NOT_FINISHED = "Where members stopped early or were not begun, more training could lower the config's log loss."
STOP_REASONS = {"interrupted": "it was interrupted", "budget": "its budget of seconds was spent"}


def print_model(console: Console, facts: Mapping[str, Any]) -> None:
    """Print what a model is, how it was trained, and how good it is on rows that it never saw."""
    facts = printable({name: value for name, value in facts.items() if name != "report"})
    schema, model, word = facts["schema"], facts["model"], _word_for_member(facts["training"])
    verb = "predicts" if len(model["kinds"]) == 1 else "predict"
    console.print(
        f"[bold]{listed(model['kinds'], MAX_KINDS)}[/] {verb} [bold]{escape(schema['target'])}[/] "
        f"from {model['n_features']:,} features: "
        f"{counted(model['n_members'], word)} with {model['n_parameters']:,} parameters in total"
    )
    console.print(f"features   {escape(listed(schema['features'], MAX_FEATURES))}")
    console.print(f"rows       {_rows_line(facts['rows'], word)}")
    console.print(f"training   {_training_line(facts['training'], word)}")
    rate = "shrinkage" if model["kinds"] == ["trees"] else "learning_rate"
    if facts["training"]["cut_short"] and facts["configs"]["n"] == 1:  # those of presets are low on purpose
        console.print(
            f"           {counted(facts['training']['n_at_max_epochs'], word)} reached max_epochs while still "
            f"improving: a higher {rate}, or more epochs, may help"
        )
    if facts["configs"]["n"] > 1:
        print_configs(console, facts["configs"], facts["training"]["seconds_saved"])
    print_alternatives(console, facts["alternatives"])
    by = f"{word}s that never saw it" if facts["training"]["n_members"] > 1 else f"a {word} that never saw it"
    n_rows = facts["rows"]["n"]
    share = f" of {n_rows:,}" if facts["evaluation"]["n_rows"] < n_rows else ""  # else the folds have all rows
    print_evaluation(console, facts["evaluation"], schema, f"{share}, each predicted by {by}")
    console.print()
    _print_calibration(console, facts["calibrator"], facts["calibration"])
    print_sets(console, facts["sets"])
    _print_threshold(console, facts["threshold"], schema)
    if facts["coefficients"]:
        _print_table(console, _coefficients_table(facts["coefficients"]))


def print_decision_change(console: Console, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Print what another decision rule changes, its figures beside those of the rule before.

    Args:
        console: where to.
        before, after: the facts of the model with each rule.
    """
    table = Table("out of fold", "before", "after", box=None, pad_edge=False, header_style="dim")
    both = [printable({name: value for name, value in facts.items() if name != "report"}) for facts in (before, after)]
    if both[0]["schema"]["positive"] is not None:
        table.add_row("threshold", *(_threshold_text(facts["threshold"]) for facts in both))
    table.add_row("coverage", *(f"{100 * facts['sets']['coverage']:g}%" for facts in both))
    metrics = [facts["evaluation"]["metrics"] for facts in both]
    for name in DECISION_METRICS:
        if name in metrics[0]:
            table.add_row(metrics[0][name]["label"], *(estimate_text(own[name]) for own in metrics))
    _print_table(console, table)
    console.print()
    print_sets(console, both[1]["sets"])
    _print_threshold(console, both[1]["threshold"], both[1]["schema"])


def print_shuffled(console: Console, shuffled: Mapping[str, Any]) -> None:
    """Print whether anything was learned from shuffled labels; see `tabcohort.cohort.shuffled.shuffled_facts`."""
    verdict = {
        True: "no better than chance, as it must be",
        False: "better than chance, which must not be: do not trust the figures above",
        None: "these rows cannot determine it",
    }[shuffled["is_chance"]]
    console.print(f"audit    out-of-fold ROC AUC with shuffled labels {estimate_text(shuffled['roc_auc'])}; {verdict}")


def print_alternatives(console: Console, alternatives: Mapping[str, Any]) -> None:
    """Print what simpler models would lose beside the ensemble, and whether one of them would do."""
    if len(alternatives["models"]) < 2:  # beside a single config there are only the class frequencies
        return
    table = Table("one kind alone, calibrated", box=None, pad_edge=False, header_style="dim")
    table.add_column("weight", justify="right")
    table.add_column("log loss", justify="right")
    table.add_column("above the ensemble (95 %)", no_wrap=True)
    for model in alternatives["models"]:
        weight = f"{model['weight']:.0%}" if model["weight"] else "-"
        loss = f"{model['log_loss']['value']:.4f}"
        table.add_row(ALTERNATIVE_LABELS[model["kind"]], weight, loss, _gap_text(model["gap"]))
    console.print()
    _print_table(console, table)
    simplest = alternatives["simplest"]
    if simplest is None:
        console.print("The ensemble is better than each of these.")
    elif simplest == "shares":
        console.print("[bold]The ensemble is not significantly better than predicting the class frequencies.[/]")
    else:
        how = " (--linear-only)" if simplest == "logistic" else ""
        console.print(f"A simpler model is as good, as far as these rows can tell: {ALTERNATIVE_LABELS[simplest]}{how}")


def estimate_text(estimate: Mapping[str, Any]) -> str:
    """Return a value with its 95 % interval; a dash where it is unknown."""
    if estimate["value"] is None:
        return "-"
    return f"{estimate['value']:.4f}  ({estimate['low']:.4f} to {estimate['high']:.4f})"


def _gap_text(gap: Mapping[str, Any]) -> str:
    """Return a difference with its sign and its 95 % interval."""
    return f"{gap['value']:+.4f}  ({gap['low']:+.4f} to {gap['high']:+.4f})"


def _threshold_text(threshold: Mapping[str, Any]) -> str:
    """Return a threshold; a dash where the most probable class is predicted."""
    return "-" if threshold["value"] is None else f"{threshold['value']:.4f}"


def print_configs(console: Console, configs: Mapping[str, Any], seconds_saved: float) -> None:
    """Print what was tried, in the order of the ranking, and what dropping the others early saved."""
    configs = printable(configs)
    console.print("\nrank  log loss  above the first, 95 % interval     weight  config", style="dim")
    n_hidden = 0
    for rank, config in enumerate(configs["ranking"], 1):
        if rank > MAX_CONFIGS and not config["weight"]:
            n_hidden += 1
            continue
        gap = config["gap"]
        interval = "" if rank == 1 or gap["value"] is None else _gap_text(gap)
        weight = f"{config['weight']:.0%}" if config["weight"] else "-"
        name = ": ".join([*config_notes(config), config["name"]])
        console.print(
            f"{rank:4}  {config['log_loss']['value']:8.4f}  {interval:31}  {weight:>8}  {name}", markup=False
        )  # fmt: skip
    if n_hidden:
        console.print(f"... and {n_hidden:,} more without a weight; --json shows all")
    if has_unfinished(configs):
        console.print(NOT_FINISHED)
    for config in configs["failed"]:
        console.print(
            f"left out, as training failed: config {config['number']}, {config['name']}: {config['message']}",
            markup=False,
        )
    if configs["n_untried"]:
        console.print(f"{configs['n_untried']} of {configs['n']} configs were not tried: training ended before")
    if configs["n_dropped"]:
        saved = f"about {seconds_saved:.0f} s" if seconds_saved >= 1 else "less than 1 s"
        console.print(
            f"{configs['n_dropped']} of {configs['n']} configs had a high loss after their first epochs and were "
            f"dropped; training them to the end would have taken {saved} more (extrapolated)"
        )


def has_unfinished(configs: Mapping[str, Any]) -> bool:
    """Return whether a config that is ranked has members that were stopped early or not begun."""
    return any(config["n_stopped"] or config["n_not_begun"] for config in configs["ranking"])


def config_notes(config: Mapping[str, Any]) -> list[str]:
    """Return what makes a config's log loss that of less training than planned, or of fewer rows.

    Args:
        config: one of the ranking.
    """
    notes = []
    if not config["all_rows"]:
        notes.append(f"tested on {counted(config['n_rows'], 'row')} only")
    if config["dropped_after"] is not None:
        notes.append(f"only {counted(config['dropped_after'], 'epoch')}")
    parts = [f"{config['n_stopped']:,} stopped early"] if config["n_stopped"] else []
    parts += [f"{config['n_not_begun']:,} not begun"] if config["n_not_begun"] else []
    if parts:
        notes.append(f"of {counted(config['n_members'], 'member')} {', '.join(parts)}")
    return notes


def print_evaluation(
    console: Console, evaluation: Mapping[str, Any], schema: Mapping[str, Any], which: str = ""
) -> None:
    """Print the metrics with their intervals, and the confusion matrix with the names of the classes.

    Args:
        console: where to.
        evaluation: what `evaluation_facts` gives.
        schema: with the classes.
        which: what to say about the rows, after their number.
    """
    evaluation, schema, which = printable(evaluation), printable(schema), printable(which)
    positive, classes = schema["positive"], schema["classes"]
    of = f"; positive class [bold]{escape(str(classes[positive]))}[/]" if positive is not None else ""
    console.print(f"\nmeasured on {counted(evaluation['n_rows'], 'row')}{escape(which)}{of}")
    if evaluation["n_groups"] < evaluation["n_rows"]:
        console.print(
            f"in {counted(evaluation['n_groups'], 'group')} (rows of one key or group, or copies of a row): "
            "the intervals allow for rows of a group being alike"
        )
    counts = _of_each_class(classes, evaluation["class_counts"], "{0} ({1:,.0f})".format, ("fewest", "most"))
    majority = evaluation["majority"]
    console.print(
        f"rows of each class: {counts}; "
        f"always predicting {majority['label']} would have accuracy {majority['accuracy']:.4f}",
        markup=False,
    )
    if evaluation["rare_classes"]:
        rare = listed(evaluation["rare_classes"], MAX_CLASSES)
        console.print(
            f"fewer than {evaluation['few_rows']} of these rows are {rare}: figures that depend on them are unreliable",
            markup=False,
        )
    for line in _seldom_lines(evaluation["seldom_predicted"]):
        console.print(line, markup=False)
    _print_table(console, _metrics_table(evaluation["metrics"]))
    if len(classes) <= MAX_CLASSES:
        _print_table(console, _confusion_table(evaluation["confusion"], classes))
    elif evaluation["most_confused"]:
        _print_table(console, _confused_table(evaluation["most_confused"][:MAX_CONFUSED], len(classes)))


def _seldom_lines(classes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what to say of the classes that hardly a row is predicted to be of."""
    if len(classes) > MAX_NEVER_PREDICTED:
        labels = listed([seldom["label"] for seldom in classes], MAX_NEVER_PREDICTED)
        return [f"{len(classes):,} classes are (almost) never predicted: {labels}; what helps: {classes[0]['remedy']}"]
    return [
        f"{seldom['label']} is (almost) never predicted: {seldom['predicted']:,.0f} of these rows are, and "
        f"{seldom['count']:,.0f} truly are; what helps: {seldom['remedy']}"
        for seldom in classes
    ]


def _of_each_class(
    labels: Sequence[Any], numbers: Sequence[float], text: Callable[[Any, float], str], ends: tuple[str, str]
) -> str:
    """Return each class with its number; of more than `MAX_CLASSES` those with the smallest and the largest number.

    Args:
        labels: of the classes.
        numbers: of each class.
        text: the text of a class with its number.
        ends: what the smallest and the largest number are called.
    """
    texts = list(map(text, labels, numbers))
    if len(texts) <= MAX_CLASSES:
        return ", ".join(texts)
    places = sorted(range(len(numbers)), key=numbers.__getitem__)
    return f"{len(texts):,} classes; {ends[0]} {texts[places[0]]}, {ends[1]} {texts[places[-1]]}"


def print_sets(console: Console, sets: Mapping[str, Any]) -> None:
    """Print how often prediction sets hold the true class, and how often they are an abstention."""
    sets = printable(sets)
    known = [entry for entry in sets["covered_by_class"] if entry["covered"] is not None]
    labels, covered = [escape(str(entry["label"])) for entry in known], [entry["covered"] for entry in known]
    by_class = _of_each_class(labels, covered, "{0} {1:.1%}".format, ("lowest", "highest"))
    console.print(
        f"sets            hold the true class for {sets['covered']:.1%} of the rows ({by_class})"
        f"; requested: {100 * sets['coverage']:g}% of each class"
    )
    if "suggested_coverage" in sets and sets["covered"] < sets["coverage"] - MAX_MISSED_COVERAGE:
        console.print(
            f"{' ' * 16}less often than requested, as the limits of a fold come from members of other folds, which may "
            f"be surer;\n{' ' * 16}the model averages all members: measure its sets on new rows with tabcohort evaluate"
        )
    suggestion = sets.get("suggested_coverage")
    hint = "" if suggestion is None else f"; a coverage of {suggestion}, near the accuracy, has fewer"
    console.print(
        f"                one class for {sets['single']:.1%} of the rows; an abstention for the others: several "
        f"classes for {sets['several']:.1%}, none for {sets['empty']:.1%}{hint}"
    )
    if always := sets.get("in_every_set"):
        them = "it is" if len(always) == 1 else "they are"
        advice = ""
        if (highest := sets["coverage_to_rule_out"]) is not None:
            advice = f"set --coverage to at most {int(100 * highest) / 100:g} with tabcohort decide, or "
        console.print(
            f"                too few rows to rule out {listed(always, MAX_CLASSES)}, so {them} in every set: "
            f"{advice}merge rare classes",
            markup=False,
        )


def _rows_line(rows: Mapping[str, Any], word: str) -> str:
    """Return the numbers of rows of a member, and of folds and seeds."""
    parts = ", ".join(f"{_range(rows[part])} {part}" for part in ("train", "validation", "test"))
    if rows["n_folds"] == 1 and rows["n_seeds"] == 1:
        return f"{rows['n']:,}: {parts}; no row is in two of these"
    if rows["n_folds"] == 1:
        return f"{rows['n']:,}, split anew for each of {rows['n_seeds']} seeds; for each {word} {parts}"
    return f"{rows['n']:,}, in {rows['n_folds']} folds x {counted(rows['n_seeds'], 'seed')}; for each {word} {parts}"


def _word_for_member(training: Mapping[str, Any]) -> str:
    """Return what a member of the cohort is called: a network, where there are no trees."""
    return "member" if "scikit-learn" in training["engine"] else "network"


def _range(bounds: Sequence[int]) -> str:
    """Return a number of rows, or a range where folds differ."""
    low, high = bounds
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _training_line(training: Mapping[str, Any], word: str) -> str:
    first, last = training["best_epochs"]
    best = f"epoch {first:,}" if first == last else f"epochs {first:,} to {last:,}"
    line = (
        f"{counted(training['n_members'], word)}, {training['n_epochs']:,} epochs in "
        f"{training['fit_seconds']:.1f} s on {training['device']} ({training['engine']} engine); best {best}"
    )
    if training["stop_reason"]:
        return f"{line}; {stop_text(training, word)}; the best weights so far are kept"
    return line


def stop_text(training: Mapping[str, Any], word: str = "member") -> str:
    """Return why training ended early, and for how many members.

    Args:
        training: the facts about training; its `stop_reason` is not null.
        word: what a member is called.
    """
    n_stopped, n_not_begun = training["n_stopped"], training["n_not_begun"]
    parts = [f"{counted(n_stopped, word)} stopped early"] if n_stopped else []
    parts += [f"{n_not_begun:,} not begun"] if n_not_begun else []
    return STOP_REASONS[training["stop_reason"]] + (f" ({', '.join(parts)})" if parts else "")


def _print_calibration(console: Console, calibrator: Mapping[str, Any], effect: Mapping[str, Any]) -> None:
    if calibrator["method"] == "none":
        console.print("probabilities   not calibrated: no correction made them clearly better")
        return
    console.print(
        f"probabilities   calibrated by {calibrator['method']} (times {calibrator['scale']:.2f}): calibration error "
        f"{effect['ece_before']:.4f} before and {effect['ece_after']:.4f} after, log loss "
        f"{effect['log_loss_before']:.4f} and {effect['log_loss_after']:.4f}"
    )
    if effect["log_loss_after"] > effect["log_loss_before"]:
        console.print(
            "                kept, as on all rows it lowers the cross-validated log loss by more than its standard "
            "error; the figures above repeat this choice for each fold on the other rows"
        )


def _print_threshold(console: Console, threshold: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    if threshold["value"] is None:
        return
    how = ", as requested"
    if threshold["was_chosen"]:
        how = f", for {threshold['objective']}; the figures above are with thresholds that were chosen on other rows"
    label = escape(str(schema["classes"][schema["positive"]]))
    console.print(f"threshold       {label} from a probability of {threshold['value']:.4f} on{how}")
    if threshold["asked"] is None:
        return
    name, measured = threshold["metric"], threshold["measured"]
    shown = "unknown" if measured is None else f"{measured:.4f}"
    verdict = "holds" if threshold["holds"] else "[bold]does not hold[/]"
    console.print(
        f"                a {name} of at least {threshold['asked']:g} was requested: {verdict}, as the {name} of the "
        f"rows above is {shown}"
    )
    if not threshold["is_promised"]:
        console.print(
            f"                the rows are too few to promise it for new rows with {threshold['confidence']:.0%} "
            f"confidence: the threshold is as strict as they allow"
        )


def _metrics_table(metrics: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table("metric", box=None, pad_edge=False, header_style="dim")
    table.add_column("value", justify="right")
    table.add_column("95 % interval", justify="right")
    for metric in metrics.values():
        if metric["value"] is None:
            table.add_row(metric["label"], "-", "these rows cannot determine it")
        else:
            interval = f"{metric['low']:.4f} to {metric['high']:.4f}"
            table.add_row(metric["label"], f"{metric['value']:.4f}", interval)
    return table


def _confusion_table(confusion: Sequence[Sequence[float]], classes: Sequence[Any]) -> Table:
    table = Table("\ntrue class, and predicted:", box=None, pad_edge=False, header_style="dim")
    for label in classes:
        table.add_column(f"\n{escape(str(label))}", justify="right", no_wrap=True)
    for label, row in zip(classes, confusion, strict=True):
        table.add_row(escape(str(label)), *(f"{count:,.0f}" for count in row))
    return table


def _confused_table(confused: Sequence[Mapping[str, Any]], n_classes: int) -> Table:
    table = Table(f"\nmost frequent confusions of {n_classes:,} classes:", box=None, pad_edge=False, header_style="dim")
    table.add_column("rows", justify="right")
    table.add_column("of the class", justify="right")
    for pair in confused:
        row = f"{escape(str(pair['true']))}, predicted {escape(str(pair['predicted']))}"
        table.add_row(row, f"{pair['weight']:,.0f}", f"{pair['share']:.1%}")
    return table


def _coefficients_table(coefficients: Sequence[Mapping[str, Any]]) -> Table:
    title = f"\nlargest of {len(coefficients)} coefficients"
    table = Table(title, box=None, pad_edge=False, header_style="dim")
    table.add_column("per standard\ndeviation", justify="right")
    table.add_column("\nspeaks for")
    for row in coefficients[:MAX_COEFFICIENTS]:
        table.add_row(escape(row["feature"]), f"{row['coefficient']:+.3f}", escape(str(row["class"])))
    return table


def _print_table(console: Console, table: Table) -> None:
    """Print a table without the blanks that would fill its last column."""
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        console.out(line.rstrip(), highlight=False)
