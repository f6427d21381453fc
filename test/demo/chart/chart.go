// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strconv"
	"strings"
)

// Point is one value.
type Point struct{ X, Y float64 }

// Line is one series. Points are in order of X.
type Line struct {
	Label string
	// Class is the CSS class that gives the colour: stroke for the line, fill
	// for its label.
	Class  string
	Points []Point
	// Step draws each value as holding until the next.
	Step bool
}

// Band shades the time between two instants.
type Band struct {
	From, To     float64
	Class, Label string
}

// Rule marks an instant (Vertical) or a value.
type Rule struct {
	At           float64
	Vertical     bool
	Class, Label string
}

// Chart is one drawing.
type Chart struct {
	// Label describes the drawing to those who cannot see it.
	Label string
	// From and To bound the time axis.
	From, To float64
	// Floor is where the vertical axis begins. Log makes it logarithmic; Floor
	// must then be positive.
	Floor float64
	Log   bool
	// Height is in pixels of a drawing 960 wide; 0 is 260.
	Height float64
	// Value formats a value of the vertical axis; nil is %g.
	Value func(float64) string
	Bands []Band
	Rules []Rule
	Lines []Line
}

// The drawing's frame, in pixels.
const (
	width                    = 960
	left, right, above, foot = 64, 16, 26, 26
)

// SVG returns the drawing.
func (c *Chart) SVG() template.HTML {
	height := c.Height
	if height == 0 {
		height = 260
	}
	d := &drawing{
		x: scale{from: c.From, to: c.To, start: left, end: width - right},
		y: scale{from: c.Floor, to: c.highest(), start: height - foot, end: above, log: c.Log},
	}
	fmt.Fprintf(&d.b, `<svg class="chart" viewBox="0 0 %d %g" role="img" aria-label="%s">`, width, height, html.EscapeString(c.Label))
	d.bands(c.Bands)
	d.axes(c.format())
	for _, r := range c.Rules {
		d.rule(r)
	}
	for _, l := range c.Lines {
		d.line(l)
	}
	d.legend(c.Lines)
	d.b.WriteString(`</svg>`)
	return template.HTML(d.b.String()) //nolint:gosec // every text in it is escaped
}

// highest is the end of the vertical axis: a round value above everything drawn.
func (c *Chart) highest() float64 {
	highest := c.Floor
	for _, l := range c.Lines {
		for _, p := range l.Points {
			if finite(p.Y) && p.X >= c.From && p.X <= c.To {
				highest = max(highest, p.Y)
			}
		}
	}
	for _, r := range c.Rules {
		if !r.Vertical {
			highest = max(highest, r.At)
		}
	}
	return top(c.Floor, highest, c.Log)
}

func (c *Chart) format() func(float64) string {
	if c.Value != nil {
		return c.Value
	}
	return func(v float64) string { return strconv.FormatFloat(v, 'g', 4, 64) }
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// drawing is an SVG in the making.
type drawing struct {
	b    strings.Builder
	x, y scale
	// labels counts those of vertical rules.
	labels int
}

func (d *drawing) text(x, y float64, class, anchor, text string) {
	fmt.Fprintf(&d.b, `<text x="%.1f" y="%.1f" class="%s" text-anchor="%s">%s</text>`, x, y, class, anchor, html.EscapeString(text))
}

func (d *drawing) bands(bands []Band) {
	for _, b := range bands {
		from, to := d.x.pixel(d.x.clamp(b.From)), d.x.pixel(d.x.clamp(b.To))
		if to <= from {
			continue
		}
		fmt.Fprintf(&d.b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" class="%s"><title>%s</title></rect>`,
			from, d.y.end, to-from, d.y.start-d.y.end, b.Class, html.EscapeString(b.Label))
	}
}

func (d *drawing) axes(format func(float64) string) {
	for _, v := range d.y.ticks(4) {
		y := d.y.pixel(v)
		fmt.Fprintf(&d.b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="grid"/>`, d.x.start, y, d.x.end, y)
		d.text(d.x.start-8, y+4, "tick", "end", format(v))
	}
	for _, v := range d.x.ticks(12) {
		x := d.x.pixel(v)
		fmt.Fprintf(&d.b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="grid"/>`, x, d.y.start, x, d.y.start+4)
		d.text(x, d.y.start+18, "tick", "middle", strconv.FormatFloat(v, 'g', 4, 64)+" s")
	}
}

// rule draws r. The labels of vertical rules are each on a line of their own,
// so that rules close together can be read.
func (d *drawing) rule(r Rule) {
	if r.Vertical {
		x := d.x.pixel(d.x.clamp(r.At))
		fmt.Fprintf(&d.b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="rule %s"/>`, x, d.y.end, x, d.y.start, r.Class)
		d.text(x+5, d.y.end+12+15*float64(d.labels), "mark", "start", r.Label)
		d.labels++
		return
	}
	y := d.y.pixel(d.y.clamp(r.At))
	fmt.Fprintf(&d.b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="rule %s"/>`, d.x.start, y, d.x.end, y, r.Class)
	d.text(d.x.start+6, y-5, "mark", "start", r.Label)
}

// line draws a path with a gap wherever a value is not finite.
func (d *drawing) line(l Line) {
	var path strings.Builder
	pen := false
	var previous float64
	for _, p := range thin(l.Points, (d.x.to-d.x.from)/(d.x.end-d.x.start)) {
		if !finite(p.Y) || p.X < d.x.from || p.X > d.x.to {
			pen = false
			continue
		}
		x, y := d.x.pixel(p.X), d.y.pixel(d.y.clamp(p.Y))
		switch {
		case !pen:
			fmt.Fprintf(&path, "M%.1f %.1f", x, y)
		case l.Step:
			fmt.Fprintf(&path, "L%.1f %.1fL%.1f %.1f", x, previous, x, y)
		default:
			fmt.Fprintf(&path, "L%.1f %.1f", x, y)
		}
		pen, previous = true, y
	}
	if path.Len() > 0 {
		fmt.Fprintf(&d.b, `<path d="%s" class="line %s"/>`, path.String(), l.Class)
	}
}

// legend names the lines above the frame.
func (d *drawing) legend(lines []Line) {
	x := d.x.start
	for _, l := range lines {
		fmt.Fprintf(&d.b, `<line x1="%.1f" y1="10" x2="%.1f" y2="10" class="line %s"/>`, x, x+18, l.Class)
		d.text(x+24, 14, "legend", "start", l.Label)
		x += 24 + 7*float64(len([]rune(l.Label))) + 22
	}
}

// thin keeps, of the points that fall into one pixel, the lowest and the
// highest, so that a spike is never lost and a drawing stays small.
func thin(points []Point, perPixel float64) []Point {
	kept := make([]Point, 0, min(len(points), 4*width))
	for i := 0; i < len(points); {
		low, high, end := i, i, i+1
		for ; end < len(points) && points[end].X < points[i].X+perPixel && finite(points[end].Y) && finite(points[i].Y); end++ {
			if points[end].Y < points[low].Y {
				low = end
			}
			if points[end].Y > points[high].Y {
				high = end
			}
		}
		kept = append(kept, points[min(low, high)])
		if low != high {
			kept = append(kept, points[max(low, high)])
		}
		i = end
	}
	return kept
}
