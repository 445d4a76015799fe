"""Write docs/gallery.md, every figure with its table, and docs/signature.md, numbers beside the paper's.

Both are of one study that ran to its end, docs/gallery.md with small pictures of its figures.
"""

import sys
from math import isnan
from pathlib import Path

from PIL import Image

from surroscope.config.study import Study
from surroscope.errors import UserError
from surroscope.report.catalogue import FigureSpec, figure, figures_for
from surroscope.report.page import number
from surroscope.results import read_table
from surroscope.runtime import cli
from surroscope.tools import exchanged
from surroscope.tools.verify import RESULTS, configured

STUDY = Path("workflow/presets/both-systems.yaml")
GALLERY, SIGNATURE = Path("docs/gallery.md"), Path("docs/signature.md")
WIDTH, COLOURS = 320, 64
PAPERS = {"T": "[T](https://arxiv.org/abs/2509.00024)", "S": "[S](https://arxiv.org/abs/2601.20172)"}
FIGURES = """# The figures of a study

Of the study `{study}`, drawn by `{command}`. `make gallery` makes this page. Each figure draws
the numbers of its table in `results/{study}/{{system}}/tables/` and nothing else. One job draws those of a system, and
any of its files asks for it,
`snakemake results/{study}/{system}/figures/two_time.pdf --force --cores 1 --configfile {configuration}`
(of the default study `snakemake results/default/CE/figures/two_time.pdf --force --cores 1`; what is missing before it
is computed first). How all of them look is in `workflow/surroscope/plots/publication.mplstyle` and the modules beside
it; any change there redraws every figure and the report, and nothing else. [T] is *Generalization vs.
Memorization in Autoregressive Deep Learning*, [S] *Loss Landscape Geometry and the Learning of Symmetries*; where a
figure names one, it has that figure's definition, at this study's size. Networks stand side by side or in one
panel, with one range of colours. Of an animation the last frame is shown. A dash: not drawn when the pictures were
made. Figures of `dial`, `leads`, `remedies` and `retraining` are in the reports of studies that have these parts.

## Options, for papers

Keys of `figures` in the configuration, and, but for `formats` and `label`, keywords of
`surroscope.plots.style.Options`. A change of one draws the figures and writes the report again, and runs nothing else.

| option | of which figures | what it does |
|---|---|---|
| `notes: false` | all | leaves out the grey small print, for a caption that says the same; panels take its room |
| `letters: true` | all with several panels that do not move | a, b, ... at the upper left of each panel |
| `formats: [png, svg]` | all that do not move | files of each figure: `png`, which the report shows, `pdf`, `svg` |
| `dpi: 300` | all | resolution of PNG files, and of pictures that move; PDF and SVG have 300 at least |
| `heatmap_limit: 5.0` | `two_time`, `reference`, `two_time_training` | where colours end [98th percentile of cells] |
| `label: ViT`, of a model | all | what figures, legends and the report call a network; files and tables have its name |

In Python, of a finished study (`labels`: model → label; `models`, in the study's order, fixes colours):

```python
from pathlib import Path
from surroscope.plots.style import Options, save
from surroscope.report.draw import draw
from surroscope.results import read_table

table = read_table("results/default", "CE", "time_lag")
figure = draw("time_lag", table, Options(models=["unet", "vit"], letters=True, notes=False, labels={{"vit": "ViT"}}))
save(figure, [Path("time_lag.svg")], dpi=300)
```

What marks mean is the same everywhere: a line or marker is a median, a pale band or broad pale bar its
quartiles, and a thin bar the 95 % interval of the median. No text is smaller than 6.5 points
at the width at which a figure is printed, 3.4 or 7 inches.

## The figures

| figure | shows | table |{heads}
|---|---|---|{rules}
"""
CONTROL = """
## A negative control

![error at turned states of a perfect surrogate](gallery/exchanged.png)

The error at turned and mirrored states of a surrogate that is perfect, the solver itself, a step of which commutes with
every turn: on Navier-Stokes states as they are, and stored with the two components of the velocity along each other's
axes. Exchanged, it errs at r, r3, s and sr2, where a turn of such states reverses the velocity, and nowhere else. That
is the split which [S] publishes for networks on PDEGym's Navier-Stokes data. It has its size, too: the SMSE of the
reversed flow is 0.03 to 0.1, thousands of times the published error of a step, 10⁻⁵. So the failure may be that of the
axes and not of the networks.
[data.md](data.md#orientation-of-axes) says how data are checked for it.
"""
NUMBERS = """# The published signature and this project's numbers

Of `{command}`, on {rows} × {columns} grids; `make gallery`
makes this page. Median over seeds and probe batches, with its 95 % bootstrap interval over both; below it in *italics*
what arXiv 2509.00024 shows, read off its figures (128 × 128 cells, 10,000 and 20,000 trajectories a class, 150 and 100
epochs). [scalars.md](scalars.md) defines each number.

## What this means for the published finding

**Reproduced**, on small networks and data: in standardised influence the ridge along the diagonal of times, and little
or nothing between classes; and, where the error is as small as the published one, the decay with time
([long.md](long.md)).

**Confounded**: that measure is the product of what a network shares and of what is left to learn, and at a minimum of
the training error it sums to zero over the training set whatever the network shares, so that help within a class is
paid for by harm between classes. A convolution of 26 parameters, which cannot memorise, ends there too
([dial.md](dial.md)). Measured apart ([coupling.md](coupling.md)), *kernel transfer* and *matched white* say what is
shared, and *alignment* how alike what is left to learn is: where the first stay near 1 at lag 8 while the last is near
0, as in the default study, the decay with time begins with the errors and not with the network. The UNet, trained
again without a class or without some of the times, kept most of what it had gained there wherever kernel transfer is
0.94 or more, and nothing in the one class where it is about 0.8; how much one group of transitions more adds to
another, signed influence foretells better ([validation.md](validation.md)).

**Open**: whether the same holds below errors of 10⁻³, at 128 × 128, on the published data, and with more seeds than the
one of `long`. Two architectures on 32 × 32 cells cannot settle it, and nothing here says that the published networks
generalise.

## As the error falls

`make signature` draws every checkpoint of every finished study in `results/`, or of `STUDIES="results/a results/b"`,
against its validation SMSE: `results/signature.png`, `.pdf` and, as numbers, `.csv`. The error falls to the right. A
look is a network of a study, a point one seed at one epoch, hollow before training; a faint line follows a seed through
training, and a cross on the upper edge is infinite. Diamonds are what was published, at the published error; a
published half-life is where the curve, linear between lags 0 and 1, falls to half. Data, and with them errors, differ
between studies: compare along a line first, and take networks of other data as other lines.

The left column is what the published figures show, the signed, standardised influence. Beside it are its two factors:
in the middle what the network shares between inputs whatever is left to learn there, on the right how alike what is
left to learn is. Read a row from left to right:

- The left falls while the middle does not and the right falls: the ridge narrows by the residuals. The network shares
  as much as before, and what it still gets wrong has less in common.
- The middle falls with the left: the ridge narrows by the kernel. A network that memorises by construction is at zero
  in the middle from its first epoch on ([dial.md](dial.md)).
- Both fall: by both, and the figure does not say in which shares.

The measures in the middle are not equally strict. *Explained*, and *kernel transfer* with it, weigh the leading
directions, so that a few modes such as means may take them near 1; *matched transfer* asks that a step mend the same
pattern of error at both inputs ([coupling.md](coupling.md)).

The command also prints Spearman's correlation of −log(validation SMSE / persistence) with a number of each column, over
the trained checkpoints of each network, its seeds pooled. Checkpoints of one training follow from each other, so there
is no test of significance; with fewer than four there is no correlation. Nothing is fitted and nothing extrapolated.
[long.md](long.md) is the figure of a study made for it.

## The numbers

"""


def names(study: Study) -> list[str]:
    """Figures that any of the study's systems has, in the catalogue's order."""
    return list(dict.fromkeys(name for system in study.systems for name in of(study, system)))


def gallery(study: Study, configuration: Path) -> str:
    """The page docs/gallery.md."""
    systems = list(study.systems)
    command = f"snakemake --cores all --configfile {configuration}"
    heads, rules = (f" {' | '.join(cells)} |" for cells in (systems, ["---"] * len(systems)))
    lines = [
        FIGURES.format(
            study=study.study, command=command, configuration=configuration, system=systems[0], heads=heads, rules=rules
        )
    ]
    for name in names(study):
        spec = figure(name)
        title = f"**{name}**: {spec.title}" + (", moves" if spec.moving else "")
        pictures = [picture(s, name) if name in of(study, s) else "" for s in systems]
        cells = [title, shown(spec), f"`{spec.table}.csv`", *pictures]
        lines.append(f"| {' | '.join(cells)} |\n")
    return "".join([*lines, CONTROL])


def picture(system: str, name: str) -> str:
    """A small picture that there is, or a dash for a figure that is newer than the study's last run."""
    file = GALLERY.with_suffix("") / f"{system}-{name}.png"
    return f"![{name}, {system}](gallery/{file.name})" if file.is_file() else "–"


def of(study: Study, system: str) -> tuple[str, ...]:
    return figures_for(study.observables_of(system), study.parts(system))


def shown(spec: FigureSpec) -> str:
    paper, _, what = spec.shows.partition(": ")
    return f"{PAPERS[paper]}: {what}" if paper else "ours"


def shrink(drawn: Path, small: Path) -> None:
    """A small picture; of an animation its last frame."""
    try:
        with Image.open(drawn) as image:
            image.seek(getattr(image, "n_frames", 1) - 1)
            flat = image.convert("RGB")
    except FileNotFoundError:
        raise UserError(f"{drawn}: missing; run the study first") from None
    height = round(flat.height * WIDTH / flat.width)
    flat.resize((WIDTH, height), Image.Resampling.LANCZOS).quantize(COLOURS).save(small, optimize=True)


def signature(study: Study, configuration: Path) -> str:
    """The page docs/signature.md. Raises UserError where a table is missing."""
    tables = {system: read_table(RESULTS / study.study, system, "scalars") for system in study.systems}
    networks = [(system, model) for system, chosen in study.systems.items() for model in chosen.models]
    rows, columns = study.data.grid
    command = f"snakemake --cores all --configfile {configuration}"
    lines = [NUMBERS.format(command=command, rows=rows, columns=columns)]
    lines.append(f"| | {' | '.join(f'{system} {model}' for system, model in networks)} |\n")
    lines.append(f"|---|{'---|' * len(networks)}\n")
    for name in dict.fromkeys(name for table in tables.values() for name in table["name"]):
        cells = []
        for system, model in networks:
            table = tables[system]
            found = table[(table["model"] == model) & (table["name"] == name)].to_dict("records")
            cells.append(cell(found[0]) if found else "–")
        lines.append(f"| {name.replace('_', ' ')} | {' | '.join(cells)} |\n")
    lines.append("\n| correlation of R with rollout error, horizon | ours | theirs |\n|---|---|---|\n")
    for system, model in networks:
        table = read_table(RESULTS / study.study, system, "rollout_correlation")
        for row in table[(table["model"] == model) & table["published"].notna()].to_dict("records"):
            ours = f"{number(row['value'])} ({number(row['low'])} to {number(row['high'])})"
            lines.append(f"| {system} {model}, {row['horizon']} | {ours} | *{number(row['published'])}* |\n")
    return "".join(lines)


def cell(row: dict[str, float]) -> str:
    """For example: 2.8 (2.5 to 3.1)<br>*4.5 to 6*."""
    text = number(row["value"])
    if not isnan(row["low"]):
        text += f" ({number(row['low'])} to {number(row['high'])})"
    ends = dict.fromkeys(number(row[name]) for name in ("published_low", "published_high"))
    return text if isnan(row["published_low"]) else f"{text}<br>*{' to '.join(ends)}*"


def write(study: Study, configuration: Path) -> list[Path]:
    """Both pages and the pictures, in place of what was there; of a study without results docs/gallery.md alone.

    Returns the pages written. Raises UserError where results are incomplete.
    """
    results, pages = RESULTS / study.study, [GALLERY]
    pictures = GALLERY.with_suffix("")
    pictures.mkdir(parents=True, exist_ok=True)
    drawn = {
        pictures / f"{system}-{name}.png": (system, name) for system in study.systems for name in of(study, system)
    }
    if results.is_dir():
        for small, (system, name) in drawn.items():
            shrink(results / system / "figures" / f"{name}.{figure(name).suffixes[-1]}", small)
        SIGNATURE.write_text(signature(study, configuration))
        pages.append(SIGNATURE)
    control = pictures / "exchanged.png"
    exchanged.picture(control)
    shrink(control, control)
    for old in set(pictures.iterdir()) - {*drawn, control}:
        old.unlink()
    GALLERY.write_text(gallery(study, configuration))
    return pages


def main(configuration: Path = STUDY) -> None:
    pages = write(configured(configuration), configuration)
    print(f"wrote {' and '.join(map(str, pages))}")
    if SIGNATURE not in pages:
        print(f"{configuration}: not run, so {SIGNATURE} and the pictures are as they were", file=sys.stderr)


if __name__ == "__main__":
    cli.tool(main)
