"""What is in a figure, and a history to draw."""

from matplotlib.backends.backend_agg import FigureCanvasAgg

HISTORY = [
    {"epoch": i, "train_loss": 6 - i, "validation_loss": v, "train_accuracy": i / 10, "validation_accuracy": i / 12}
    for i, v in ((1, 5.5), (2, 4.0), (3, 4.5))
]


def inside(figure):
    """Whether titles and labels of a figure lie within it, so that none is cut off."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    texts = [text for axes in figure.axes for text in (axes.title, axes.xaxis.label, axes.yaxis.label)]
    texts += [figure._suptitle] if figure._suptitle else []
    boxes = [text.get_window_extent(renderer) for text in texts if text.get_text()]
    return all(b.x0 >= 0 and b.y0 >= 0 and b.x1 <= figure.bbox.x1 and b.y1 <= figure.bbox.y1 for b in boxes)


def labelled(figure, panels):
    """Whether a figure has that number of panels, all of which show something, a title, and names on both axes."""
    assert len(figure.axes) >= panels
    assert any(axes.get_title() for axes in figure.axes)
    assert all(axes.has_data() for axes in figure.axes)
    return any(axes.get_xlabel() for axes in figure.axes) and any(axes.get_ylabel() for axes in figure.axes)
