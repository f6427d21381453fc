// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package sensing

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Report is what one run measured. A part that was not asked for is empty.
type Report struct {
	Machine Machine `json:"machine"`
	// When says of each part when it was measured.
	When     map[string]When `json:"when"`
	Sweep    []Sweep         `json:"sweep"`
	Programs []Program       `json:"programs"`
	Rest     []Rest          `json:"rest"`
	Overhead []Overhead      `json:"overhead"`
	Optional []Optional      `json:"optional"`
	Budgets  []Budget        `json:"budgets"`
}

// When is when a part was measured, and what else ran.
type When struct {
	Date     string  `json:"date"`
	Revision string  `json:"revision"`
	Seconds  float64 `json:"seconds"`
	// Load average before and after.
	LoadBefore string `json:"load_before"`
	LoadAfter  string `json:"load_after"`
	// Quick says that little was measured, and poorly.
	Quick bool `json:"quick"`
}

// Sweep compares one pass over cgroups that are in use, each with one sleeping
// process, by the iterator and by reading files that are kept open.
type Sweep struct {
	Cgroups int `json:"cgroups"`
	// EBPF and Cgroupfs are medians on the clock, in ms a pass.
	EBPF     float64 `json:"ebpf_ms"`
	Cgroupfs float64 `json:"cgroupfs_ms"`
	// Ratio is Cgroupfs over EBPF, round by round; RatioCPU that of CPU times,
	// which what else runs on the machine changes less.
	Ratio          Summary `json:"ratio"`
	RatioCPU       Summary `json:"ratio_cpu"`
	EBPFSpread     Summary `json:"ebpf_spread_ms"`
	CgroupfsSpread Summary `json:"cgroupfs_spread_ms"`
	// EBPFCPU and CgroupfsCPU are the CPU time of the reading thread, in ms.
	EBPFCPU     Summary `json:"ebpf_cpu_ms"`
	CgroupfsCPU Summary `json:"cgroupfs_cpu_ms"`
	// EBPFEmpty and CgroupfsEmpty are the same with nobody in any cgroup.
	EBPFEmpty     float64 `json:"ebpf_empty_ms"`
	CgroupfsEmpty float64 `json:"cgroupfs_empty_ms"`
	// Node is the CPU time of reading the node, which a tick does besides, in ms.
	Node float64 `json:"node_cpu_ms"`
	// Files are what is read of each cgroup, and the CPU time of each in a pass.
	Files []File `json:"files"`
}

// File is one file of every cgroup.
type File struct {
	Name string  `json:"name"`
	MS   float64 `json:"cpu_ms"`
}

// Program is the cost of one BPF program by the kernel's own statistics, the
// statistics' own two looks at the clock included.
type Program struct {
	Name string `json:"name"`
	// NS is the mean of all runs, in ns.
	NS     float64 `json:"ns"`
	Runs   uint64  `json:"runs"`
	Spread Summary `json:"spread_ns"`
	// Event is what one run is about.
	Event string `json:"event"`
}

// Rest is a collector with nothing to do but sample.
type Rest struct {
	// What is measured; ours is "reflex".
	What     string  `json:"what"`
	Interval float64 `json:"interval_ms"`
	Cgroups  int     `json:"cgroups"`
	// CPU is of one core; RSS the resident memory at the end.
	CPU       float64 `json:"cpu_percent"`
	RSS       float64 `json:"rss_mib"`
	CPUSpread Summary `json:"cpu_spread_percent"`
	RSSSpread Summary `json:"rss_spread_mib"`
	// Anonymous is the part of RSS that is not the program's file.
	Anonymous float64 `json:"anonymous_mib"`
}

// Overhead is what a load loses while the receiver samples with its defaults.
type Overhead struct {
	Load string `json:"load"`
	// Loss is the median over pairs of 1 - with/without, in percent. Negative is
	// noise: nothing gets faster.
	Loss       float64 `json:"loss_percent"`
	LossSpread Summary `json:"loss_spread_percent"`
	// CPULoss is the same of operations a second of the load's own CPU time: what
	// the probes cost where they run, without what others take of the CPUs.
	CPULoss       float64 `json:"cpu_loss_percent"`
	CPULossSpread Summary `json:"cpu_loss_spread_percent"`
	// Noise is how much two neighbouring runs of the same kind differed, the
	// median in percent.
	Noise   float64 `json:"noise_percent"`
	Without Summary `json:"without"`
	With    Summary `json:"with"`
	// Unit is that of Without and With, How the program that made the load.
	Unit string `json:"unit"`
	How  string `json:"how"`
	// CollectorCPU is what the collector took meanwhile, in percent of a core, and
	// Shares what each program did, in a run of its own.
	CollectorCPU float64 `json:"collector_cpu_percent"`
	Shares       []Share `json:"shares"`
}

// Share is one program's part in a load.
type Share struct {
	Program string  `json:"program"`
	Rate    float64 `json:"events_per_second"`
	NS      float64 `json:"ns"`
	// CPU is of one core, in percent.
	CPU float64 `json:"cpu_percent"`
}

// newReport returns a report whose parts are empty lists, not null.
func newReport(m Machine) *Report {
	return &Report{
		Machine: m, When: map[string]When{},
		Sweep: []Sweep{}, Programs: []Program{}, Rest: []Rest{}, Overhead: []Overhead{}, Optional: []Optional{}, Budgets: []Budget{},
	}
}

// Load reads the report that [Report.Write] left in dir.
func Load(dir string) (*Report, error) {
	text, err := os.ReadFile(filepath.Join(dir, DataFile))
	if err != nil {
		return nil, err
	}
	r := newReport(Machine{})
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("read %s: %w", DataFile, err)
	}
	return r, nil
}

// Names of the files that [Report.Write] leaves.
const (
	DataFile = "sensing.json"
	TextFile = "sensing.md"
)

// Write writes the report into dir as data and as text.
func (r *Report) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the report: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, DataFile), append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, TextFile), []byte(r.Markdown()), 0o644)
}
