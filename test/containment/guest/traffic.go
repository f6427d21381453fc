// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// traffic is what this node's network has done so far, in the kernel's own words:
// the interface on this side, TCP, and software interrupts.
type traffic struct {
	at                    int64
	received, sent        uint64 // packets
	droppedIn, droppedOut uint64
	resent                uint64  // TCP segments
	softIRQ               float64 // seconds
}

func takeTraffic() *traffic {
	t := &traffic{at: now()}
	// What cannot be read did nothing.
	devices, _ := os.ReadFile("/proc/net/dev")
	tcp, _ := os.ReadFile("/proc/net/snmp")
	cpus, _ := os.ReadFile("/proc/stat")
	t.parse(string(devices), string(tcp), string(cpus))
	return t
}

// userHZ is the unit of /proc/stat, a second has as many on every machine.
const userHZ = 100

func (t *traffic) parse(devices, tcp, cpus string) {
	for line := range strings.Lines(devices) {
		name, rest, _ := strings.Cut(line, ":")
		if f := strings.Fields(rest); strings.TrimSpace(name) == insideLink && len(f) > 11 {
			t.received, t.droppedIn, t.sent, t.droppedOut = number(f[1]), number(f[3]), number(f[9]), number(f[11])
		}
	}
	var names []string
	for line := range strings.Lines(tcp) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] != "Tcp:" {
			continue
		}
		for i, name := range names {
			if name == "RetransSegs" && i < len(f) {
				t.resent = number(f[i])
			}
		}
		names = f
	}
	if f := strings.Fields(cpus); len(f) > 7 && f[0] == "cpu" {
		t.softIRQ = float64(number(f[7])) / userHZ
	}
}

func number(text string) uint64 {
	n, _ := strconv.ParseUint(text, 10, 64)
	return n
}

// since says what was done since before, a second.
func (t *traffic) since(before *traffic) string {
	seconds := float64(t.at-before.at) / 1e9
	rate := func(now, was uint64) float64 { return float64(now-min(was, now)) / seconds }
	return fmt.Sprintf("%.0f packets/s in (%.0f dropped), %.0f out (%.0f dropped), %.1f segments/s again, %.2f CPUs in softirq",
		rate(t.received, before.received), rate(t.droppedIn, before.droppedIn), rate(t.sent, before.sent), rate(t.droppedOut, before.droppedOut),
		rate(t.resent, before.resent), (t.softIRQ-before.softIRQ)/seconds)
}
