"""What a counter is shown of an image, pixel by pixel in plain Python."""


def padded_view(rows, box, mirror, brightness, contrast, mean, std, height, width):
    """Normalised pixels [channel][row][column] of rows of (r, g, b): mirror, cut, brightness, contrast, scale, pad."""
    left, top, right, bottom = box
    seen = [(list(reversed(row)) if mirror else list(row))[left:right] for row in rows][top:bottom]

    def clamp(value):
        return min(255.0, max(0.0, value))

    seen = [[[clamp(brightness * value) for value in pixel] for pixel in row] for row in seen]
    greys = [0.2989 * r + 0.587 * g + 0.114 * b for row in seen for r, g, b in row]
    grey = sum(greys) / len(greys)
    seen = [[[clamp(contrast * value + (1 - contrast) * grey) for value in pixel] for pixel in row] for row in seen]
    result = [[[0.0] * width for _ in range(height)] for _ in range(3)]
    for y, row in enumerate(seen):
        for x, pixel in enumerate(row):
            for channel in range(3):
                result[channel][y][x] = (pixel[channel] / 255 - mean[channel]) / std[channel]
    return result


def padded_cells(density, box, mirror, stride, height, width):
    """Sums over cells of a map [row][column] of one value a pixel: mirror, cut, pad, add up."""
    left, top, right, bottom = box
    seen = [(list(reversed(row)) if mirror else list(row))[left:right] for row in density][top:bottom]
    cells = [[0.0] * (width // stride) for _ in range(height // stride)]
    for y, row in enumerate(seen):
        for x, value in enumerate(row):
            cells[y // stride][x // stride] += value
    return cells
