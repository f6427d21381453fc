// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/detect"
	"github.com/otelcol-reflex/reflex/internal/reading"
	"github.com/otelcol-reflex/reflex/internal/recording"
)

// ticks reads what `reflexctl record` writes, for one source or the other.
type ticks struct {
	name   string
	r      *recording.Reader
	sample arc.Sample
	// interval that samples are said to have; 0: their own. own is the one that the
	// source has when nothing hurries it, 0 where the period is told.
	interval, own int64
	time          []byte

	missing      int
	missed, lost int
	last         uint64 // sequence of the tick before
	cut          error  // the recording ends early
}

func newTicks(name string, r io.Reader, o *Options) (*ticks, error) {
	if o.Time != "" || o.Label != "" {
		return nil, fmt.Errorf("%s: is a recording of ticks: it knows its times, and has no labels to choose", name)
	}
	reader, err := recording.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	t := &ticks{name: name, r: reader, interval: int64(o.Interval)}
	if o.Period == 0 {
		t.own = cmp.Or(t.interval, reader.Header().Interval)
	}
	return t, nil
}

// newTicksSource is a source that reads a recording of ticks: the node's, or those
// of every cgroup where the preset of cgroups is asked for.
func newTicksSource(name string, r io.Reader, o *Options) (source, error) {
	t, err := newTicks(name, r, o)
	if err != nil {
		return nil, err
	}
	if o.Dimensions == reading.Cgroup {
		return newCgroupSource(t)
	}
	return newNodeSource(t, o.Dimensions)
}

// advance reads the next tick. The end of a recording that ends early is its end.
func (t *ticks) advance() error {
	err := t.r.Next(&t.sample)
	switch {
	case err == nil:
	case errors.Is(err, recording.ErrTruncated) && t.r.Ticks() > 0:
		t.cut = err
		return io.EOF
	case errors.Is(err, io.EOF) && t.r.Ticks() == 0:
		return fmt.Errorf("%s: holds no tick", t.name)
	case errors.Is(err, io.EOF):
		return io.EOF
	default:
		return fmt.Errorf("%s: after %d ticks: %w", t.name, t.r.Ticks(), err)
	}
	s := &t.sample
	t.missed += int(s.Missed)
	if t.last > 0 && s.Sequence > t.last {
		t.lost += int(s.Sequence - t.last - 1)
	}
	t.last = s.Sequence
	t.time = time.Unix(0, s.WallTime).UTC().AppendFormat(t.time[:0], time.RFC3339Nano)
	return nil
}

// place puts a sample where the tick is in time, as [detect.Engine] does.
func (t *ticks) place(to *Sample) {
	s := &t.sample
	due := s.Scheduled
	if due == 0 {
		due = s.Taken
	}
	to.At = detect.Instant{Due: due, Taken: s.Taken, Interval: s.Interval, Period: t.own, Wall: s.WallTime}
	if t.interval > 0 {
		to.At.Interval = t.interval
	}
	to.Time, to.Label = t.time, nil
}

func (t *ticks) labelled() bool { return false }

func (t *ticks) account(to *Summary) {
	to.Missing, to.MissedTicks, to.LostTicks = t.missing, t.missed, t.lost
	if to.Interval = time.Duration(t.interval); to.Interval == 0 {
		to.Interval = time.Duration(t.r.Header().Interval)
	}
	for _, c := range t.r.Unknown() {
		to.Skipped = append(to.Skipped, Skipped{c.Name, "not known to this version, or not in this form"})
	}
	if t.cut != nil {
		to.Skipped = append(to.Skipped, Skipped{"the end", t.cut.Error()})
	}
}

// nodeSource reads the node of every tick.
type nodeSource struct {
	*ticks
	dims   []detect.Dimension
	fields []arc.NodeField
	raw    []float64
}

func newNodeSource(t *ticks, list string) (*nodeSource, error) {
	s := &nodeSource{ticks: t}
	switch list {
	case "", reading.Node:
		s.dims, s.fields = detect.NodeDimensions()
	case reading.HostMetrics:
		return nil, fmt.Errorf("%s: dimensions: a recording of ticks holds none of the preset %s; it holds node and cgroup", t.name, list)
	default:
		if err := s.choose(list); err != nil {
			return nil, err
		}
	}
	s.raw = make([]float64, len(s.dims))
	return s, nil
}

// choose takes the columns of the node that the list names.
func (s *nodeSource) choose(list string) error {
	selection, err := ParseSelection(list)
	if err != nil {
		return fmt.Errorf("dimensions: %w", err)
	}
	var known []string
	for _, f := range arc.NodeFields {
		known = append(known, f.Name)
	}
	if unknown := selection.unknown(known); unknown != "" {
		return fmt.Errorf("%s: dimensions: %q is no column of the node, and no preset; the columns are %s", s.name, unknown, names(slices.Sorted(slices.Values(known))))
	}
	for i, f := range arc.NodeFields {
		kind, said, taken := selection.pick(f.Name)
		if !taken {
			continue
		}
		if !said && f.Kind == arc.Counter {
			kind = detect.Rate
		}
		d := detect.Free(f.Name)
		d.Kind, d.Load = kind, f.Load
		s.dims, s.fields = append(s.dims, d), append(s.fields, arc.NodeField(i))
	}
	if len(s.dims) == 0 {
		return fmt.Errorf("%s: dimensions: %q leaves none of the columns", s.name, list)
	}
	return nil
}

func (s *nodeSource) next(to *Sample) error {
	if err := s.advance(); err != nil {
		return err
	}
	for i, f := range s.fields {
		s.raw[i] = s.sample.Node[f]
		if math.IsNaN(s.raw[i]) {
			s.missing++
		}
	}
	s.place(to)
	to.Stream, to.Raw = 0, s.raw
	return nil
}

func (s *nodeSource) stream(int) Stream { return Stream{Dimensions: s.dims} }
func (s *nodeSource) many() bool        { return false }

// cgroupSource reads every cgroup of every tick.
type cgroupSource struct {
	*ticks
	dims    []detect.Dimension
	fields  []arc.CgroupField
	scales  []float64 // that a column is divided by
	raw     []float64
	row     int
	streams map[uint64]int // by id
	named   []string
	refused int
}

func newCgroupSource(t *ticks) (*cgroupSource, error) {
	vocabulary, err := reading.New(reading.Cgroup, nil)
	if err != nil {
		return nil, err
	}
	s := &cgroupSource{ticks: t, dims: vocabulary.Dimensions(), streams: map[uint64]int{}}
	for _, d := range vocabulary.Sources() {
		f := slices.IndexFunc(arc.CgroupFields[:], func(f arc.Field) bool { return f.Name == d.Metric })
		if f < 0 {
			return nil, fmt.Errorf("dimensions: %q is no column of a cgroup", d.Metric)
		}
		scale := 1.0
		if arc.CgroupFields[f].Unit == "s" {
			scale = 1e9 // a sweep holds nanoseconds
		}
		s.fields, s.scales = append(s.fields, arc.CgroupField(f)), append(s.scales, scale)
	}
	s.raw = make([]float64, len(s.dims))
	return s, nil
}

func (s *cgroupSource) next(to *Sample) error {
	for {
		for s.row >= s.sample.Cgroups.Len() {
			if err := s.advance(); err != nil {
				if errors.Is(err, io.EOF) && len(s.named) == 0 {
					return fmt.Errorf("%s: holds no cgroup", s.name)
				}
				return err
			}
			s.row = 0
		}
		row := s.row
		s.row++
		if s.read(to, row) {
			return nil
		}
		s.refused++
	}
}

// read fills to with a row of the sweep. It is false where there are too many
// streams for another one.
func (s *cgroupSource) read(to *Sample, row int) bool {
	id := s.sample.Cgroups.ID[row]
	stream, known := s.streams[id]
	if !known {
		if len(s.named) >= mostStreams {
			return false
		}
		stream = len(s.named)
		s.streams[id] = stream
		s.named = append(s.named, s.resource(id))
	}
	for i, f := range s.fields {
		v := s.sample.Cgroups.Value(f, row)
		s.raw[i] = float64(v) / s.scales[i]
		if v >= arc.Unlimited { // or absent
			s.raw[i] = math.NaN()
			s.missing++
		}
	}
	s.place(to)
	to.Stream, to.Raw = stream, s.raw
	return true
}

// resource names a cgroup as the processor does.
func (s *cgroupSource) resource(id uint64) string {
	text := fmt.Sprintf("%s=%d", reading.AttributeCgroup, id)
	if path := s.r.Path(id); path != "" {
		text += " reflex.cgroup.path=" + path
	}
	return text
}

func (s *cgroupSource) stream(i int) Stream {
	return Stream{Resource: s.named[i], Dimensions: s.dims}
}

func (s *cgroupSource) many() bool { return true }

func (s *cgroupSource) account(to *Summary) {
	s.ticks.account(to)
	if s.refused > 0 {
		to.Skipped = append(to.Skipped, Skipped{fmt.Sprintf("%d rows of cgroups", s.refused), fmt.Sprintf("beyond %d streams", mostStreams)})
	}
}
