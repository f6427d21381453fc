// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package arc

// Kind says how the values of a field relate over time.
type Kind uint8

const (
	// Gauge is a level read at the tick.
	Gauge Kind = iota
	// Counter only grows, except when its source restarts; its meaning is in
	// the difference between two ticks.
	Counter
)

// String returns the lower-case name of the kind.
func (k Kind) String() string {
	if k == Counter {
		return "counter"
	}
	return "gauge"
}

// Field describes one column of a [Sample]: its metric name, unit (UCUM), kind
// and meaning. Load is +1 where a larger value means more load on the machine,
// -1 where it means less, and 0 where the field says nothing about load.
type Field struct {
	Name string
	Unit string
	Kind Kind
	Load int8
	Help string
}

// NodeField indexes [Node] and [NodeFields]. A new node dimension is a new
// constant here, its row in NodeFields, and a line in the sampler that fills it.
type NodeField uint8

// The dimensions of a node.
const (
	NodeCPUBusy NodeField = iota
	NodeCPUSystem
	NodeCPUSoftIRQ
	NodeCPUIRQ
	NodeContextSwitches
	NodeRunQueueDelay
	NodeTasksRunnable
	NodeTasksBlocked
	NodeTasksUninterruptible
	NodePressureCPUSome
	NodePressureMemorySome
	NodePressureMemoryFull
	NodePressureIOSome
	NodePressureIOFull
	NodeMemoryTotal
	NodeMemoryUsed
	NodeMemoryAvailable
	NodePageFaults
	NodeMajorFaults
	NodeSwapIn
	NodeSwapOut
	NodeDirectReclaims
	NodeDirectReclaimTime
	NodeCompactionStalls
	NodeMemoryFragmentation
	NodeOOMKills
	NodeForks
	NodeExecs
	NodeExits
	NodeBlockOperations
	NodeBlockTime
	NodeBlockBytes
	NodePacketsReceived
	NodePacketsSent
	NodeBytesReceived
	NodeBytesSent
	NodeDropsReceived
	NodeDropsSent
	NodeErrorsReceived
	NodeErrorsSent
	NodeTCPRetransmits
	NodeTCPOpens
	NodeTCPDestinationEntropy
	NodeSyscallRate
	NodeSyscallEntropy

	// NumNodeFields is the length of [Node] and [NodeFields].
	NumNodeFields
)

// NodeFields describes every node dimension, indexed by [NodeField].
var NodeFields = [NumNodeFields]Field{
	NodeCPUBusy:               {"system.cpu.busy.time", "s", Counter, +1, "CPU time not idle and not waiting for I/O, summed over CPUs"},
	NodeCPUSystem:             {"system.cpu.kernel.time", "s", Counter, +1, "CPU time spent in the kernel, interrupts included, summed over CPUs"},
	NodeCPUSoftIRQ:            {"system.cpu.softirq.time", "s", Counter, +1, "CPU time spent in software interrupts, summed over CPUs"},
	NodeCPUIRQ:                {"system.cpu.interrupt.time", "s", Counter, +1, "CPU time spent in hardware interrupts, summed over CPUs"},
	NodeContextSwitches:       {"system.cpu.context_switches", "{switch}", Counter, +1, "context switches, summed over CPUs"},
	NodeRunQueueDelay:         {"system.cpu.run_queue.delay", "s", Counter, +1, "time runnable tasks waited for a CPU, summed over CPUs"},
	NodeTasksRunnable:         {"system.process.runnable", "{task}", Gauge, +1, "tasks running or waiting for a CPU, the one that reads included"},
	NodeTasksBlocked:          {"system.process.blocked", "{task}", Gauge, +1, "tasks waiting for I/O"},
	NodeTasksUninterruptible:  {"system.process.uninterruptible", "{task}", Gauge, +1, "tasks in uninterruptible sleep, be it for I/O or for a lock"},
	NodePressureCPUSome:       {"system.pressure.cpu.some", "s", Counter, +1, "time in which at least one task waited for a CPU (PSI)"},
	NodePressureMemorySome:    {"system.pressure.memory.some", "s", Counter, +1, "time in which at least one task was stalled on memory (PSI)"},
	NodePressureMemoryFull:    {"system.pressure.memory.full", "s", Counter, +1, "time in which all non-idle tasks were stalled on memory (PSI)"},
	NodePressureIOSome:        {"system.pressure.io.some", "s", Counter, +1, "time in which at least one task was stalled on I/O (PSI)"},
	NodePressureIOFull:        {"system.pressure.io.full", "s", Counter, +1, "time in which all non-idle tasks were stalled on I/O (PSI)"},
	NodeMemoryTotal:           {"system.memory.limit", "By", Gauge, 0, "usable physical memory"},
	NodeMemoryUsed:            {"system.memory.used", "By", Gauge, +1, "physical memory neither free nor page cache nor reclaimable slab"},
	NodeMemoryAvailable:       {"system.memory.linux.available", "By", Gauge, -1, "the kernel's estimate of memory available without swapping"},
	NodePageFaults:            {"system.paging.faults", "{fault}", Counter, +1, "page faults, minor and major"},
	NodeMajorFaults:           {"system.paging.major_faults", "{fault}", Counter, +1, "page faults that needed I/O"},
	NodeSwapIn:                {"system.paging.operations.in", "{operation}", Counter, +1, "pages read back from swap"},
	NodeSwapOut:               {"system.paging.operations.out", "{operation}", Counter, +1, "pages written to swap"},
	NodeDirectReclaims:        {"system.memory.direct_reclaims", "{reclaim}", Counter, +1, "times a task had to reclaim memory itself to allocate"},
	NodeDirectReclaimTime:     {"system.memory.direct_reclaim.time", "s", Counter, +1, "time tasks spent in direct reclaim"},
	NodeCompactionStalls:      {"system.memory.compaction.stalls", "{stall}", Counter, +1, "times a task had to compact memory itself to allocate"},
	NodeMemoryFragmentation:   {"system.memory.fragmentation", "1", Gauge, 0, "entropy of free memory over the sizes of its blocks, 0 to 1, up to 1 s old"},
	NodeOOMKills:              {"system.memory.oom_kills", "{process}", Counter, +1, "processes chosen by the kernel's OOM killer"},
	NodeForks:                 {"system.process.forks", "{process}", Counter, +1, "tasks created"},
	NodeExecs:                 {"system.process.execs", "{process}", Counter, +1, "programs executed"},
	NodeExits:                 {"system.process.exits", "{process}", Counter, 0, "tasks that exited"},
	NodeBlockOperations:       {"system.disk.block.operations", "{operation}", Counter, +1, "block requests completed"},
	NodeBlockTime:             {"system.disk.block.time", "s", Counter, +1, "time between issue and completion, summed over block requests"},
	NodeBlockBytes:            {"system.disk.block.io", "By", Counter, +1, "bytes moved by completed block requests"},
	NodePacketsReceived:       {"system.network.packets.received", "{packet}", Counter, +1, "packets received, loopback excluded"},
	NodePacketsSent:           {"system.network.packets.sent", "{packet}", Counter, +1, "packets sent, loopback excluded"},
	NodeBytesReceived:         {"system.network.io.received", "By", Counter, +1, "bytes received, loopback excluded"},
	NodeBytesSent:             {"system.network.io.sent", "By", Counter, +1, "bytes sent, loopback excluded"},
	NodeDropsReceived:         {"system.network.packet.dropped.received", "{packet}", Counter, +1, "packets received and dropped by an interface, loopback excluded"},
	NodeDropsSent:             {"system.network.packet.dropped.sent", "{packet}", Counter, +1, "packets dropped by an interface instead of being sent, loopback excluded"},
	NodeErrorsReceived:        {"system.network.errors.received", "{error}", Counter, +1, "errors of interfaces in receiving, loopback excluded"},
	NodeErrorsSent:            {"system.network.errors.sent", "{error}", Counter, +1, "errors of interfaces in sending, loopback excluded"},
	NodeTCPRetransmits:        {"system.network.tcp.retransmits", "{segment}", Counter, +1, "TCP segments sent again"},
	NodeTCPOpens:              {"system.network.tcp.opens", "{connection}", Counter, +1, "TCP connections begun from this machine"},
	NodeTCPDestinationEntropy: {"system.network.tcp.destination.entropy", "1", Gauge, 0, "entropy of the addresses to which TCP connections were begun in the last 10 s, 0 to 1"},
	NodeSyscallRate:           {"system.syscall.rate", "{call}/s", Gauge, +1, "system calls a second, in the last window in which they were counted"},
	NodeSyscallEntropy:        {"system.syscall.entropy", "1", Gauge, 0, "entropy of system calls over their numbers, in the last window in which they were counted, 0 to 1"},
}

// CgroupField indexes the columns of a [Sweep] and [CgroupFields]. A new cgroup
// dimension is a new constant here, its row in CgroupFields, and a line in the
// sampler that fills it.
type CgroupField uint8

// The columns of a sweep.
const (
	CgroupMemoryUsage CgroupField = iota
	CgroupMemoryHigh
	CgroupMemoryMax
	CgroupCPUTime
	CgroupPressureCPUSome
	CgroupPressureMemorySome
	CgroupPressureMemoryFull
	CgroupPressureIOSome
	CgroupPressureIOFull
	CgroupMemorySwap
	CgroupCPUPeriods
	CgroupCPUThrottledPeriods
	CgroupCPUThrottledTime
	CgroupPids
	CgroupPidsMax

	// Absent unless they are asked for: every packet pays for them.
	CgroupBytesReceived
	CgroupBytesSent
	CgroupPacketsReceived
	CgroupPacketsSent
	CgroupTCPOpens

	// What follows is too costly to read of every cgroup at every tick. It is
	// absent on the arc; metrics carry it for the rows that were looked at.
	CgroupMemoryAnon
	CgroupMemoryFile
	CgroupMemoryUnreclaimable
	CgroupPageFaults
	CgroupMajorFaults
	CgroupReadBytes
	CgroupWriteBytes
	CgroupReadOperations
	CgroupWriteOperations

	// NumCgroupFields is the number of columns of a [Sweep].
	NumCgroupFields
)

// CgroupFields describes every column of a sweep, indexed by [CgroupField].
// Times are nanoseconds in a Sweep and become seconds in metrics.
var CgroupFields = [NumCgroupFields]Field{
	CgroupMemoryUsage:        {"cgroup.memory.usage", "By", Gauge, +1, "memory charged to the cgroup and its descendants, live"},
	CgroupMemoryHigh:         {"cgroup.memory.high", "By", Gauge, 0, "memory.high of the cgroup"},
	CgroupMemoryMax:          {"cgroup.memory.limit", "By", Gauge, 0, "memory.max of the cgroup"},
	CgroupCPUTime:            {"cgroup.cpu.time", "s", Counter, +1, "CPU time of the cgroup and its descendants"},
	CgroupPressureCPUSome:    {"cgroup.pressure.cpu.some", "s", Counter, +1, "time in which at least one task of the cgroup waited for a CPU (PSI)"},
	CgroupPressureMemorySome: {"cgroup.pressure.memory.some", "s", Counter, +1, "time in which at least one task of the cgroup was stalled on memory (PSI)"},
	CgroupPressureMemoryFull: {"cgroup.pressure.memory.full", "s", Counter, +1, "time in which all non-idle tasks of the cgroup were stalled on memory (PSI)"},
	CgroupPressureIOSome:     {"cgroup.pressure.io.some", "s", Counter, +1, "time in which at least one task of the cgroup was stalled on I/O (PSI)"},
	CgroupPressureIOFull:     {"cgroup.pressure.io.full", "s", Counter, +1, "time in which all non-idle tasks of the cgroup were stalled on I/O (PSI)"},

	CgroupMemorySwap:          {"cgroup.memory.swap.usage", "By", Gauge, +1, "swap used by the cgroup and its descendants, live"},
	CgroupCPUPeriods:          {"cgroup.cpu.periods", "{period}", Counter, 0, "periods of the cgroup's CPU quota in which it ran, 0 without a quota"},
	CgroupCPUThrottledPeriods: {"cgroup.cpu.throttled.periods", "{period}", Counter, +1, "periods in which the cgroup used its CPU quota up"},
	CgroupCPUThrottledTime:    {"cgroup.cpu.throttled.time", "s", Counter, +1, "time the cgroup was kept from running by its CPU quota, summed over CPUs"},
	CgroupPids:                {"cgroup.pids.count", "{task}", Gauge, +1, "tasks (processes and threads) of the cgroup and its descendants, live"},
	CgroupPidsMax:             {"cgroup.pids.limit", "{task}", Gauge, 0, "pids.max of the cgroup"},

	CgroupBytesReceived:   {"cgroup.network.io.received", "By", Counter, +1, "bytes of the IP packets that sockets of the cgroup and its descendants received"},
	CgroupBytesSent:       {"cgroup.network.io.sent", "By", Counter, +1, "bytes of the IP packets that sockets of the cgroup and its descendants sent"},
	CgroupPacketsReceived: {"cgroup.network.packets.received", "{packet}", Counter, +1, "IP packets that sockets of the cgroup and its descendants received"},
	CgroupPacketsSent:     {"cgroup.network.packets.sent", "{packet}", Counter, +1, "IP packets that sockets of the cgroup and its descendants sent"},
	CgroupTCPOpens:        {"cgroup.network.tcp.opens", "{connection}", Counter, +1, "TCP connections begun from the cgroup and its descendants"},

	CgroupMemoryAnon:          {"cgroup.memory.anon", "By", Gauge, +1, "anonymous memory of the cgroup and its descendants"},
	CgroupMemoryFile:          {"cgroup.memory.file", "By", Gauge, 0, "page cache of the cgroup and its descendants, tmpfs and shared memory included"},
	CgroupMemoryUnreclaimable: {"cgroup.memory.unreclaimable", "By", Gauge, +1, "memory that only its owner or swap can free: anonymous, shared, network buffers, and the kernel's but for reclaimable slab"},
	CgroupPageFaults:          {"cgroup.paging.faults", "{fault}", Counter, +1, "page faults of the cgroup and its descendants, minor and major"},
	CgroupMajorFaults:         {"cgroup.paging.major_faults", "{fault}", Counter, +1, "page faults of the cgroup and its descendants that needed I/O"},
	CgroupReadBytes:           {"cgroup.disk.io.read", "By", Counter, +1, "bytes that the cgroup and its descendants read from block devices"},
	CgroupWriteBytes:          {"cgroup.disk.io.write", "By", Counter, +1, "bytes that the cgroup and its descendants wrote to block devices"},
	CgroupReadOperations:      {"cgroup.disk.operations.read", "{operation}", Counter, +1, "read requests of the cgroup and its descendants to block devices"},
	CgroupWriteOperations:     {"cgroup.disk.operations.write", "{operation}", Counter, +1, "write requests of the cgroup and its descendants to block devices"},
}
