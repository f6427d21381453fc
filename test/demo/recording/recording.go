// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// The names of the two arms, in the order in which they run.
const (
	Without = "without"
	With    = "with"
)

// Unlimited stands for the word "max" in a limit.
const Unlimited uint64 = 1 << 62

// Environment describes the machine on which the workload ran.
type Environment struct {
	// Where is "native" or "vm".
	Where string `json:"where"`
	// Why says in one sentence how Where was chosen.
	Why    string `json:"why"`
	Kernel string `json:"kernel"`
	// Architecture is GOARCH of the workload.
	Architecture string `json:"architecture"`
	CPUs         int    `json:"cpus"`
	MemoryBytes  uint64 `json:"memory_bytes"`
	SwapBytes    uint64 `json:"swap_bytes"`
	// Host describes the machine that runs the virtual machine; empty natively.
	Host string `json:"host,omitempty"`
	// Collector is what otelcol-reflex calls itself.
	Collector string `json:"collector,omitempty"`
}

// Sample is the state of both services at one instant.
type Sample struct {
	Time      int64  `json:"t"`
	Payment   uint64 `json:"payment"`
	Neighbour uint64 `json:"neighbour"`
}

// Ceiling is one value of the payment service's memory.high, from Time on.
type Ceiling struct {
	Time  int64  `json:"t"`
	Value uint64 `json:"value"`
}

// Cost is what a cgroup used in the two parts of an arm: shares of one CPU, and
// its memory at the end of each part in bytes. Zero is unknown.
type Cost struct {
	CPUCalm    float64 `json:"cpu_calm"`
	CPULeak    float64 `json:"cpu_leak"`
	MemoryCalm uint64  `json:"memory_calm"`
	MemoryLeak uint64  `json:"memory_leak"`
}

// Judgement is the collector's own word on the node at one instant, as its
// status page gave it.
type Judgement struct {
	Time     int64   `json:"t"`
	Level    int     `json:"level"`
	Distance float64 `json:"distance"`
	Limit    float64 `json:"limit"`
}

// Arm is everything measured in one arm, except its answers.
type Arm struct {
	Name string `json:"name"`
	Seed uint64 `json:"seed"`

	// Calm is the start of the calm minute, Onset the moment before the first
	// leaked page is touched, End the end of the minute of leak.
	Calm  int64 `json:"calm"`
	Onset int64 `json:"onset"`
	End   int64 `json:"end"`
	// OnsetWall is Onset in nanoseconds since the Unix epoch.
	OnsetWall int64 `json:"onset_wall"`

	// Limit is memory.max of the payment service, Resident its memory.current
	// when the calm minute began.
	Limit    uint64 `json:"limit"`
	Resident uint64 `json:"resident"`
	// LeakRate is in bytes a second.
	LeakRate uint64 `json:"leak_rate"`
	// RequestRate is in requests a second to each service; each reads Work bytes
	// and then waits Wait seconds.
	RequestRate float64 `json:"request_rate"`
	Work        int     `json:"work"`
	Wait        float64 `json:"wait_s"`

	Samples []Sample `json:"samples"`
	// Ceilings starts with the value before the arm; then every change that an
	// observer polling memory.high saw.
	Ceilings []Ceiling `json:"ceilings"`
	// Judgements is empty without Reflex.
	Judgements []Judgement `json:"judgements,omitempty"`

	// Costs is what each cgroup of the arm used, by its name.
	Costs map[string]Cost `json:"costs"`
	// LatenessCalm and LatenessLeak say how late the observer's 5 ms timer was,
	// its 99th percentile in ms: the machine's own noise.
	LatenessCalm float64 `json:"lateness_p99_ms_calm"`
	LatenessLeak float64 `json:"lateness_p99_ms_leak"`

	// PaymentKilled is when the payment service ended by SIGKILL, 0 if it lived.
	PaymentKilled int64 `json:"payment_killed"`
	// OOMKills is memory.events oom_kill of the payment service at the end.
	OOMKills uint64 `json:"oom_kills"`
	// NeighbourCeilingChanged says that the innocent's memory.high was not "max"
	// at some sample.
	NeighbourCeilingChanged bool `json:"neighbour_ceiling_changed"`
	// CeilingAfter is memory.high after Reflex was stopped, while the service
	// still ran; 0 if the service was gone.
	CeilingAfter uint64 `json:"ceiling_after"`
	// Trouble lists what went wrong without ending the arm.
	Trouble []string `json:"trouble,omitempty"`
}

// Seconds returns the instant t in seconds from the onset.
func (a *Arm) Seconds(t int64) float64 { return float64(t-a.Onset) / 1e9 }

// WallSeconds returns the time of day wall (ns since the Unix epoch) in seconds
// from the onset.
func (a *Arm) WallSeconds(wall int64) float64 { return float64(wall-a.OnsetWall) / 1e9 }

// File names in a recording's directory.
const (
	EnvironmentFile = "environment.json"
	MetricsFile     = "otlp/metrics.otlp" // messages, each after its length
	LogsFile        = "otlp/logs.jsonl"
	TracesFile      = "otlp/traces.jsonl"
)

// ArmFile is the file of an arm in a recording's directory.
func ArmFile(name string) string { return name + ".json" }

// AnswersFile is the file of an arm's answers in a recording's directory.
func AnswersFile(name string) string { return name + ".answers.csv" }

// WriteJSON writes v to dir/name.
func WriteJSON(dir, name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	return os.WriteFile(filepath.Join(dir, name), append(b, '\n'), 0o644)
}

// ReadJSON reads dir/name into v.
func ReadJSON(dir, name string, v any) error {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("decode %s: %w", filepath.Join(dir, name), err)
	}
	return nil
}
