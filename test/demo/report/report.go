// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/otelcol-reflex/reflex/test/demo/recording"
	"github.com/otelcol-reflex/reflex/test/demo/telemetry"
)

// Input is everything a report is made from.
type Input struct {
	Environment recording.Environment
	// Arms and Answers are keyed by the arm's name.
	Arms    map[string]*recording.Arm
	Answers map[string][]recording.Answer
	Story   *telemetry.Story
}

// Load reads the recording in dir.
func Load(dir string) (*Input, error) {
	in := &Input{Arms: map[string]*recording.Arm{}, Answers: map[string][]recording.Answer{}}
	if err := recording.ReadJSON(dir, recording.EnvironmentFile, &in.Environment); err != nil {
		return nil, fmt.Errorf("load the recording: %w", err)
	}
	for _, name := range []string{recording.Without, recording.With} {
		arm := &recording.Arm{}
		err := recording.ReadJSON(dir, recording.ArmFile(name), arm)
		if err == nil {
			in.Arms[name] = arm
			in.Answers[name], err = loadAnswers(filepath.Join(dir, recording.AnswersFile(name)))
		}
		if err != nil {
			return nil, fmt.Errorf("load arm %q: %w", name, err)
		}
	}
	var err error
	if in.Story, err = telemetry.Read(dir); err != nil {
		return nil, fmt.Errorf("read the telemetry: %w", err)
	}
	return in, nil
}

func loadAnswers(path string) ([]recording.Answer, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return recording.ReadAnswers(f)
}

// Level is a change of level, in seconds from the onset.
type Level struct {
	Time     float64 `json:"t_s"`
	Level    int     `json:"level"`
	Name     string  `json:"name"`
	Previous int     `json:"previous"`
	Reason   string  `json:"reason,omitempty"`
}

// Windows holds the neighbour's p99 in ms of every window of ten seconds.
type Windows struct {
	CalmWithout []float64 `json:"calm_without"`
	CalmWith    []float64 `json:"calm_with"`
	LeakWithout []float64 `json:"leak_without"`
	LeakWith    []float64 `json:"leak_with"`
}

// Report is the outcome. Pointers are null where the thing did not happen.
type Report struct {
	Environment recording.Environment `json:"environment"`
	Kernel      string                `json:"kernel"`
	Seed        uint64                `json:"seed"`

	// Detected is the first level of 1 or more, Contained the first memory.high
	// on the payment service that the observer read, both in seconds from the
	// onset; ContainedRecorded is the same by Reflex's own record.
	Detected          *float64 `json:"detected_s"`
	Contained         *float64 `json:"contained_s"`
	ContainedRecorded *float64 `json:"contained_recorded_s"`
	// TickToKnob is from the record of the first containment.
	TickToKnob *float64 `json:"tick_to_knob_s"`

	OOMKillWithout *float64 `json:"oom_kill_s_without"`
	OOMKillWith    *float64 `json:"oom_kill_s_with"`
	// PaymentAliveWith says that the service lived and answered at the end.
	PaymentAliveWith bool `json:"payment_alive_with"`

	TransactionsWith    int `json:"transactions_with"`
	TransactionsWithout int `json:"transactions_without"`

	NeighbourP99With     float64 `json:"neighbour_p99_ms_with"`
	NeighbourP99Without  float64 `json:"neighbour_p99_ms_without"`
	NeighbourP99Baseline float64 `json:"neighbour_p99_ms_baseline"`
	NeighbourWindows     Windows `json:"neighbour_p99_ms_windows"`
	NeighbourTouched     bool    `json:"neighbour_touched"`

	// CeilingAfter is memory.high of the payment service once Reflex had been
	// stopped: "max" if it was given back.
	CeilingAfter string `json:"memory_high_after"`

	// Costs is what each cgroup used in the arm with Reflex.
	Costs map[string]recording.Cost `json:"costs"`

	Levels []Level `json:"levels"`
	// OTLP counts the telemetry of the episode that contained the leak,
	// OTLPTotal everything the collector exported.
	OTLP      telemetry.Counts `json:"otlp"`
	OTLPTotal telemetry.Counts `json:"otlp_total"`
	// Episode is its id, which is its trace id.
	Episode string `json:"episode,omitempty"`

	Headline   string   `json:"headline"`
	Acceptance []Check  `json:"acceptance"`
	Passed     bool     `json:"passed"`
	Trouble    []string `json:"trouble,omitempty"`
}
