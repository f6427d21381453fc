// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/otelcol-reflex/reflex/eval/internal/detector"
	"github.com/otelcol-reflex/reflex/eval/internal/metric"
	"github.com/otelcol-reflex/reflex/eval/internal/protocol"
)

// Report is report.json.
type Report struct {
	Protocol Protocol `json:"protocol"`
	// Detectors are the means over data sets.
	Detectors []protocol.Measures      `json:"detectors"`
	Datasets  []protocol.DatasetResult `json:"datasets"`
	Files     []File                   `json:"files"`
	Skipped   []string                 `json:"skipped,omitempty"`
}

// Protocol states how the numbers came about.
type Protocol struct {
	Prefix      string           `json:"prefix"`
	Aggregation string           `json:"aggregation"`
	Adjustment  string           `json:"point_adjustment"`
	VUSWindow   string           `json:"vus_window"`
	Thresholds  int              `json:"vus_thresholds"`
	Tolerance   metric.Tolerance `json:"episode_tolerance"`
	Equal       string           `json:"at_equal_episodes"`
	Seed        int              `json:"seed"`
}

// File is one recording.
type File struct {
	Dataset   string              `json:"dataset"`
	Name      string              `json:"name"`
	Rows      int                 `json:"rows"`
	Prefix    int                 `json:"prefix_rows"`
	Columns   int                 `json:"columns"`
	Interval  float64             `json:"interval_s"`
	Detectors []protocol.Measures `json:"detectors"`
}

// New sums up results.
func New(results []protocol.FileResult, detectors []detector.Entry) *Report {
	r := &Report{
		Protocol: Protocol{
			Prefix:      "rows marked split=train; without such, the rows before the first labelled one, at least 40 and at most 20 % of the file",
			Aggregation: "auc_pr and vus_pr: mean over the recordings of a data set; detected, episodes and delay: pooled over them; overall: mean over data sets",
			Adjustment:  "none",
			VUSWindow:   fmt.Sprintf("0 to min(%d, scored rows / 10)", metric.GreatestWindow),
			Thresholds:  metric.Thresholds,
			Tolerance:   metric.DefaultTolerance,
			Equal:       "one threshold a data set, the lowest down to which the detector has no more false episodes there than " + detector.Ours + " at its own limit",
			Seed:        protocol.Seed,
		},
		Datasets: protocol.ByDataset(results, detectors),
	}
	r.Detectors = protocol.Overall(r.Datasets, detectors)
	for _, f := range results {
		if f.Err != nil {
			r.Skipped = append(r.Skipped, f.Err.Error())
			continue
		}
		r.Files = append(r.Files, File{
			Dataset: f.File.Dataset, Name: f.File.Name, Rows: len(f.Recording.Label), Prefix: f.Recording.Prefix,
			Columns: len(f.Recording.Columns), Interval: f.Recording.Interval, Detectors: f.Measures,
		})
	}
	return r
}

// Write writes report.json into dir and returns its path.
func (r *Report) Write(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make report directory: %w", err)
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return "", fmt.Errorf("encode report: %w", err)
	}
	path := filepath.Join(dir, "report.json")
	if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
		return "", fmt.Errorf("write report: %w", err)
	}
	return path, nil
}
