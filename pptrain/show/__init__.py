"""Pictures, strips and tables of arrays and plain values, alive and on paper; no family here."""
from .figures import arcs as arcs, bar_picture as bar_picture, curves as curves
from .figures import effects as effects, film_strip as film_strip, forest as forest
from .figures import frame as frame, grid as grid, histogram as histogram, matrix as matrix
from .figures import skyline as skyline, time_slice as time_slice
from .markup import Markup as Markup, embed as embed, html_table as html_table
from .markup import markdown_table as markdown_table, markdown_text as markdown_text
from .markup import page as page, still_html as still_html
from .motion import arcs_svg as arcs_svg, film_svg as film_svg
from .palette import GREY as GREY, INK as INK, PALETTE as PALETTE, PAPER as PAPER
from .palette import state_colors as state_colors
from .strip import strip_svg as strip_svg, text_strip as text_strip
from .strip import token_strip as token_strip
from .twin import Picture as Picture
