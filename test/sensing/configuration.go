// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package sensing

import (
	"fmt"
	"strings"
)

// sensingOnly is the receiver with its defaults and nothing else.
func sensingOnly(root, interval string) string {
	return fmt.Sprintf(`receivers:
  ebpf:
    interval: %s
    cgroup_root: %s
exporters:
  nop:
service:
  pipelines:
    metrics: {receivers: [ebpf], exporters: [nop]}
  telemetry: {metrics: {level: none}}
`, interval, root)
}

// withOption is sensingOnly with a setting of the receiver besides.
func withOption(root, interval, setting string) string {
	return strings.Replace(sensingOnly(root, interval), "\nexporters:", "\n    "+setting+"\nexporters:", 1)
}

// everything is the configuration that the distribution ships with, but that it
// has no guard to talk to, listens nowhere and exports to nobody.
func everything(root, interval string) string {
	return fmt.Sprintf(`extensions:
  reflex:
    mode: observe
    guard: none
    cgroup_root: %[1]s
    status: {endpoint: ""}
receivers:
  ebpf:
    interval: %[2]s
    cgroup_root: %[1]s
  reflex:
processors:
  memory_limiter: {check_interval: 1s, limit_mib: 128, spike_limit_mib: 32}
  mahalanobis: {preset: node}
  batch: {timeout: 1s}
exporters:
  nop:
service:
  extensions: [reflex]
  pipelines:
    metrics/node:
      receivers: [ebpf]
      processors: [memory_limiter, mahalanobis, batch]
      exporters: [nop]
    metrics/reflex: {receivers: [reflex], exporters: [nop]}
    logs/reflex: {receivers: [reflex], exporters: [nop]}
    traces/reflex: {receivers: [reflex], exporters: [nop]}
  telemetry: {metrics: {level: none}}
`, root, interval)
}

// hostMetrics is the usual way to see a node, by the second. It knows no cgroup.
// Its scraper of processes is left out, as it would read what sleeps in ours.
const hostMetrics = `receivers:
  host_metrics:
    collection_interval: 1s
    scrapers: {cpu: , load: , memory: , disk: , filesystem: , network: , paging: }
exporters:
  nop:
service:
  pipelines:
    metrics: {receivers: [host_metrics], exporters: [nop]}
  telemetry: {metrics: {level: none}}
`
