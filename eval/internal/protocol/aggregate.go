// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package protocol

import (
	"slices"

	"github.com/otelcol-reflex/reflex/eval/internal/detector"
	"github.com/otelcol-reflex/reflex/eval/internal/metric"
)

// DatasetResult sums up the recordings of one data set.
type DatasetResult struct {
	Name  string `json:"name"`
	Files int    `json:"files"`
	Rows  int    `json:"rows"`
	// Prefix is how many of the rows were to warm up on, Positive the mean share
	// of labelled rows among the scored ones of recordings that have any: the
	// AUC-PR of a random score.
	Prefix   int      `json:"prefix_rows"`
	Positive *float64 `json:"positive_share"`
	// ClockAUCPR is the mean AUC-PR of a score that looks at no metric and only
	// falls with time, or only rises, whichever does better: what the place of
	// the anomalies in the recordings gives away. Where it is high, read AUC-PR
	// and VUS-PR with care, and detections at equal episodes instead.
	ClockAUCPR *float64   `json:"clock_auc_pr"`
	Intervals  int        `json:"intervals"`
	Detectors  []Measures `json:"detectors"`
}

// ByDataset sums up results, which hold the traces of the same detectors.
func ByDataset(results []FileResult, detectors []detector.Entry) []DatasetResult {
	var names []string
	groups := map[string][]FileResult{}
	for _, r := range results {
		if r.Err != nil {
			continue
		}
		if !slices.Contains(names, r.File.Dataset) {
			names = append(names, r.File.Dataset)
		}
		groups[r.File.Dataset] = append(groups[r.File.Dataset], r)
	}
	sets := make([]DatasetResult, 0, len(names))
	for _, name := range names {
		sets = append(sets, dataset(name, groups[name], detectors))
	}
	return sets
}

func dataset(name string, files []FileResult, detectors []detector.Entry) DatasetResult {
	d := DatasetResult{Name: name, Files: len(files)}
	var positive []*float64
	parts := make([]Scored, len(files))
	for k, f := range files {
		parts[k] = Rest(f.Recording)
		d.Rows += len(f.Recording.Label)
		d.Prefix += f.Recording.Prefix
		intervals := metric.Intervals(parts[k].Label)
		d.Intervals += len(intervals)
		rows := 0
		for _, r := range intervals {
			rows += r.End - r.Start
		}
		if rows > 0 {
			positive = append(positive, known(float64(rows)/float64(len(parts[k].Label))))
		}
	}
	d.Positive, d.ClockAUCPR = mean(positive), clock(parts)
	for k, e := range detectors {
		d.Detectors = append(d.Detectors, pool(e, k, files))
	}
	d.equalise(files, parts)
	return d
}

// clock measures what time alone gives away.
func clock(parts []Scored) *float64 {
	var falling, rising []*float64
	for _, p := range parts {
		fall, rise := make([]float64, len(p.Label)), make([]float64, len(p.Label))
		for i := range p.Label {
			fall[i], rise[i] = -float64(i), float64(i)
		}
		falling = append(falling, known(metric.AveragePrecision(p.Label, fall)))
		rising = append(rising, known(metric.AveragePrecision(p.Label, rise)))
	}
	fall, rise := mean(falling), mean(rising)
	if fall == nil || *rise > *fall {
		return rise
	}
	return fall
}

// pool sums up detector k.
func pool(e detector.Entry, k int, files []FileResult) Measures {
	m := Measures{Name: e.Name, Online: e.Online}
	var sum Tally
	var aucs, volumes []*float64
	var rows, micros float64
	for _, f := range files {
		one := f.Measures[k]
		aucs, volumes = append(aucs, one.AUCPR), append(volumes, one.VUSPR)
		sum.add(*one.Tally)
		n := float64(len(f.Recording.Label))
		rows += n
		micros += one.MicrosecondsPerRow * n
	}
	m.AUCPR, m.VUSPR, m.Alarms = mean(aucs), mean(volumes), sum.alarms()
	m.MicrosecondsPerRow = micros / rows
	return m
}

// equalise compares all detectors at the false episodes of ours.
func (d *DatasetResult) equalise(files []FileResult, parts []Scored) {
	ours := slices.IndexFunc(d.Detectors, func(m Measures) bool { return m.Name == detector.Ours })
	if ours < 0 {
		return
	}
	allowed := d.Detectors[ours].Tally.FalseEpisodes
	for k := range d.Detectors {
		m := &d.Detectors[k]
		if k == ours {
			own := m.Alarms
			m.Equal = &own
			continue
		}
		traces := make([]Trace, len(files))
		for i, f := range files {
			traces[i] = f.Traces[k]
		}
		threshold, counted := atMost(allowed, parts, traces)
		equal := counted.alarms()
		equal.Threshold = known(threshold)
		m.Equal = &equal
	}
}

// Overall is the mean over data sets.
func Overall(sets []DatasetResult, detectors []detector.Entry) []Measures {
	out := make([]Measures, 0, len(detectors))
	for k, e := range detectors {
		of := func(value func(Measures) *float64) *float64 {
			values := make([]*float64, len(sets))
			for i, d := range sets {
				values[i] = value(d.Detectors[k])
			}
			return mean(values)
		}
		alarms := func(value func(Measures) *Alarms) Alarms {
			at := func(pick func(*Alarms) *float64) *float64 {
				return of(func(m Measures) *float64 {
					if a := value(m); a != nil {
						return pick(a)
					}
					return nil
				})
			}
			return Alarms{
				DelaySeconds:        at(func(a *Alarms) *float64 { return a.DelaySeconds }),
				Detected:            at(func(a *Alarms) *float64 { return a.Detected }),
				EpisodesPerNodeWeek: at(func(a *Alarms) *float64 { return a.EpisodesPerNodeWeek }),
				AlarmedShare:        at(func(a *Alarms) *float64 { return a.AlarmedShare }),
			}
		}
		m := Measures{
			Name: e.Name, Online: e.Online,
			AUCPR:  of(func(m Measures) *float64 { return m.AUCPR }),
			VUSPR:  of(func(m Measures) *float64 { return m.VUSPR }),
			Alarms: alarms(func(m Measures) *Alarms { return &m.Alarms }),
		}
		if cost := of(func(m Measures) *float64 { return &m.MicrosecondsPerRow }); cost != nil {
			m.MicrosecondsPerRow = *cost
		}
		if equal := alarms(func(m Measures) *Alarms { return m.Equal }); equal.Detected != nil {
			m.Equal = &equal
		}
		out = append(out, m)
	}
	return out
}
