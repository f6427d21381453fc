// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package words writes numbers and names for people, the same in a terminal and on the
// status page. It decides nothing, and what it writes is not meant to be read back.
package words

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// Printable keeps what a workload chose, the name of a cgroup above all, from
// steering the terminal, or its text from being shown in another order than it is.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r != '\t' && (r < ' ' || r >= 0x7f && r < 0xa0 || unicode.Is(unicode.Cf, r)) {
			return '�'
		}
		return r
	}, text)
}

// plain is what needs no quoting in any shell.
var plain = regexp.MustCompile(`^[A-Za-z0-9/._@:-]+$`)

// Argument writes a cgroup as the argument of a command that may be pasted into a
// shell: its path where that is plain, else its id.
func Argument(path string, id uint64) string {
	if plain.MatchString(path) && path[0] != '-' {
		return path
	}
	return strconv.FormatUint(id, 10)
}

// Size writes a number of bytes, [arc.Unlimited] and above as max.
func Size(n uint64) string {
	if n >= arc.Unlimited {
		return "max"
	}
	return Bytes(float64(n))
}

// Bytes writes a number of bytes, which may be negative.
func Bytes(f float64) string {
	for _, unit := range []string{"B", "KiB", "MiB", "GiB"} {
		if f < 1024 && f > -1024 {
			return fmt.Sprintf("%.4g %s", f, unit)
		}
		f /= 1024
	}
	return fmt.Sprintf("%.4g TiB", f)
}

// Number writes a number, a dash for none.
func Number(f *float64) string {
	if f == nil {
		return "–"
	}
	return fmt.Sprintf("%.4g", *f)
}

// Seconds writes so many seconds.
func Seconds(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	if d > -time.Second && d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}

// Lasting writes how long something lasted.
func Lasting(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(10 * time.Microsecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// Amount is a value of a knob; its JSON is "max" where there is no limit.
type Amount uint64

// MarshalJSON implements json.Marshaler.
func (a Amount) MarshalJSON() ([]byte, error) {
	if uint64(a) >= arc.Unlimited {
		return []byte(`"max"`), nil
	}
	return json.Marshal(uint64(a))
}

// Value writes a value of an action's knob.
func Value(action string, v uint64) string {
	switch known, _ := arc.ParseAction(action); known {
	case arc.ActionMemoryHigh:
		return Size(v)
	case arc.ActionIOMaxRead, arc.ActionIOMaxWrite, arc.ActionNetworkThrottle:
		if v < arc.Unlimited {
			return Size(v) + "/s"
		}
	case arc.ActionCPUMax:
		if v < arc.Unlimited {
			return fmt.Sprintf("%.4g CPUs", float64(v)/1e6)
		}
	}
	if v >= arc.Unlimited {
		return "max"
	}
	return strconv.FormatUint(v, 10)
}

// growthSuffix ends the name of a dimension that is the growth of a gauge.
const growthSuffix = ".growth"

// Quantity writes the value of a dimension with its unit, where the dimension is that of a
// node's field: a gauge's level, or what a counter, or a gauge's growth, is a second.
func Quantity(dimension string, value *float64) string {
	if value == nil {
		return "–"
	}
	name := strings.TrimSuffix(dimension, growthSuffix)
	for i := range arc.NodeFields {
		f := &arc.NodeFields[i]
		if f.Name != name {
			continue
		}
		rate := f.Kind == arc.Counter || name != dimension
		switch {
		case f.Unit == "By" && rate:
			return Bytes(*value) + "/s"
		case f.Unit == "By":
			return Bytes(*value)
		case f.Unit == "s" && rate: // of every second
			return fmt.Sprintf("%.3g %%", 100**value)
		case f.Unit == "s":
			return Seconds(*value)
		case rate:
			return Number(value) + "/s"
		}
	}
	return Number(value)
}
