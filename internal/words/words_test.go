// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package words

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/detect"
)

func TestNumbersForPeople(t *testing.T) {
	v := func(f float64) *float64 { return &f }
	name := func(f arc.NodeField) string { return arc.NodeFields[f].Name }
	for want, got := range map[string]string{
		"max":           Size(arc.Unlimited),
		"1.5 KiB":       Size(1536),
		"-2 MiB":        Bytes(-2 << 20),
		"3 TiB":         Bytes(3 << 40),
		"–":             Number(nil),
		"1.235":         Number(v(1.2345678)),
		"250ms":         Seconds(0.25),
		"12.3s":         Seconds(12.34),
		"340µs":         Lasting(341 * time.Microsecond),
		"1m5s":          Lasting(65*time.Second + 300*time.Millisecond),
		"0.5 CPUs":      Value("cpu.max", 500_000),
		"100":           Value("cpu.weight", 100),
		"max ":          Value("pids.max", arc.Unlimited) + " ",
		"2 MiB/s":       Value("io.max.read", 2<<20),
		"1 GiB":         Quantity(name(arc.NodeMemoryUsed), v(1<<30)),
		"4 MiB/s":       Quantity(name(arc.NodeMemoryUsed)+detect.GrowthSuffix, v(4<<20)),
		"300/s":         Quantity(name(arc.NodePageFaults), v(300)),
		"12.5 %":        Quantity(name(arc.NodePressureMemorySome), v(0.125)),
		"7":             Quantity("my.own", v(7)),
		"– ":            Quantity("my.own", nil) + " ",
		"a\uFFFD[2Jb\t": Printable("a\x1b[2Jb\t"),
	} {
		assert.Equal(t, want, got)
	}
	assert.Equal(t, detect.GrowthSuffix, growthSuffix)
	text, err := json.Marshal([]Amount{7, Amount(arc.Unlimited)})
	require.NoError(t, err)
	assert.JSONEq(t, `[7, "max"]`, string(text))
}
