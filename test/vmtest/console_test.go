// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package vmtest

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestConsoleTellsAnEmulatorFaultFromOtherEnds(t *testing.T) {
	for text, fault := range map[string]bool{
		"[    1.2] traps: PANIC: double fault, error_code: 0x0":                        true,
		"[    1.2] int3: 0000 [#1] PREEMPT SMP NOPTI":                                  true,
		"[    1.2] Oops: 0002 [#1] SMP":                                                true,
		"[    1.2] BUG: unable to handle page fault for address: ffffffffffffffd8":     true,
		"[    1.2] general protection fault, probably for non-canonical address 0xdea": true,
		"[    1.2] Out of memory: Killed process 77 (leaker)":                          false,
		"[    1.2] Kernel panic - not syncing: Out of memory: system-wide panic":       false,
		"[    1.2] watchdog: BUG: soft lockup - CPU#0 stuck for 23s":                   false,
	} {
		c := newConsole(io.Discard)
		fmt.Fprintf(c, "[    0.0] Linux\r\n%s\r\n[    1.3] more\r\n", text)
		if fault {
			assert.Equal(t, text, c.fault())
		} else {
			assert.Empty(t, c.fault(), text)
		}
	}
}

// A busy host makes a kernel say it once; one that says it again stands still.
func TestConsoleTellsAKernelThatStandsStill(t *testing.T) {
	c := newConsole(io.Discard)
	stands := func() bool {
		select {
		case <-c.hung:
			return true
		default:
			return false
		}
	}
	const starved = "rcu: rcu_preempt kthread starved for %d jiffies! g7397 f0x2 RCU_GP_WAIT_FQS(5) ->state=0x0 ->cpu=1"
	fmt.Fprintf(c, "[   21.0] "+starved+"\r\n[   21.1] rcu: RCU grace-period kthread stack dump:\r\n", 5252)
	assert.False(t, stands())
	assert.Empty(t, c.fault())
	fmt.Fprintf(c, "[   84.0] "+starved+"\r\n", 21007)
	assert.True(t, stands())
	assert.Contains(t, c.fault(), "kthread starved for 5252 jiffies")
	fmt.Fprintf(c, "[  147.0] "+starved+"\r\n", 36762) // and nothing is closed twice
}

func TestConsoleKeepsABoundedTail(t *testing.T) {
	c := newConsole(io.Discard)
	for i := range 20000 {
		fmt.Fprintf(c, "line %d\n", i)
	}
	assert.LessOrEqual(t, len(c.tail), consoleKept)
	assert.Equal(t, []string{"line 19998", "line 19999"}, strings.Split(c.lastLines(2), "\n"))
}
