# SPDX-License-Identifier: GPL-2.0-only
# What the samples of tools/guest/bench.c come to, one line for each aim and size, tab-separated:
#
#	VERDICT MEASURE AGAINST KIB COUNT AIM RESULT MEDIAN FIRST-QUARTILE THIRD-QUARTILE SAMPLES
#
# The last four are of the ratio of two samples taken next to each other; "-" where it is not about a ratio.
# fewer: what part of the time of eager blobs those may take that are never mapped.

/^sample / {
	value[$2, $4, $7, $3, $6] = $8
	if (!(($2, $4, $6) in seen)) {
		seen[$2, $4, $6] = 1
		round[$2, $4, ++rounds[$2, $4]] = $6
	}
	if ($8 + 0 > most[$2, $4, $7, $3] + 0)
		most[$2, $4, $7, $3] = $8
	count[$2, $4] = $5
}

function sort(v, n,	i, j, x) {
	for (i = 2; i <= n; i++) {
		x = v[i]
		for (j = i - 1; j && v[j] > x; j--)
			v[j + 1] = v[j]
		v[j + 1] = x
	}
}

# of sorted values
function quantile(v, n, p,	at, low) {
	at = 1 + (n - 1) * p
	low = int(at)
	return low < n ? v[low] + (at - low) * (v[low + 1] - v[low]) : v[n]
}

function times(x) {
	return x < 0.1 ? sprintf("1/%.0f", 1 / x) : sprintf("%.2f", x)
}

function row(verdict, what, against, kib, n, aim, result, numbers) {
	printf "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", verdict, what, against, kib, n, aim, result,
		numbers == "" ? "-\t-\t-\t-" : numbers
}

function median(measure, kib, quantity, a, b,	n, i, r, v) {
	for (i = 1; i <= rounds[measure, kib]; i++) {
		r = round[measure, kib, i]
		if ((measure, kib, quantity, a, r) in value && (measure, kib, quantity, b, r) in value)
			v[++n] = value[measure, kib, quantity, a, r] / value[measure, kib, quantity, b, r]
	}
	sort(v, n)
	return n ? quantile(v, n, 0.5) : 0
}

# a must not take longer than aim times b; where near is set, the aim is so close to 1 that it is also met
# when the quartiles of the two overlap; floor is what part of b a blob takes that is not mappable
function compare(what, against, measure, kib, quantity, a, b, aim, near, floor,	n, i, r, v, w, ratio, met, m, q1, q3) {
	for (i = 1; i <= rounds[measure, kib]; i++) {
		r = round[measure, kib, i]
		if (!((measure, kib, quantity, a, r) in value) || !((measure, kib, quantity, b, r) in value))
			continue
		n++
		v[n] = value[measure, kib, quantity, a, r]
		w[n] = value[measure, kib, quantity, b, r]
		ratio[n] = v[n] / w[n]
	}
	if (!n) {
		row("skip", what, against, kib, count[measure, kib] + 0, "<= " times(aim), "not to be had")
		return
	}
	sort(v, n)
	sort(w, n)
	sort(ratio, n)
	m = quantile(ratio, n, 0.5)
	q1 = quantile(ratio, n, 0.25)
	q3 = quantile(ratio, n, 0.75)
	met = m <= aim || near && quantile(v, n, 0.25) <= quantile(w, n, 0.75)
	# what not even a blob reaches that is not mappable is the host's doing
	row(met ? "ok" : floor > aim ? "skip" : "not ok", what, against, kib, count[measure, kib], "<= " times(aim),
	    times(m) " (" times(q1) " to " times(q3) ")" (floor > aim ? "; not mappable: " times(floor) : ""), m "\t" q1 "\t" q3 "\t" n)
}

# what two ways took at the most: window bytes, MAP_BLOBs, UNMAP_BLOBs
function used(measure, kib, way) {
	return most[measure, kib, "window", way] + 0 ", " most[measure, kib, "map_blob", way] + 0 ", " \
		most[measure, kib, "unmap_blob", way] + 0
}

END {
	sizes = split("4 64 1024 16384", size, " ")
	for (i = 1; i <= sizes; i++) {
		got = used("few", size[i], "deferred")
		row(got used("lots", size[i], "deferred") == "0, 0, 00, 0, 0" ? "ok" : "not ok",
		    "window bytes, MAP_BLOB, UNMAP_BLOB of never-mapped blobs", "eager: " used("few", size[i], "eager"),
		    size[i], count["few", size[i]], "0, 0, 0", got)
	}
	for (i = 1; i <= sizes; i++)
		compare("create + destroy, never mapped", "eager", "few", size[i], "both", "deferred", "eager", fewer, 0,
			median("few", size[i], "both", "unmappable", "eager"))
	for (i = 1; i <= sizes; i++)
		compare("create + destroy, never mapped", "not mappable", "lots", size[i], "both", "deferred", "unmappable", 1.05, 1)
	for (i = 1; i <= sizes; i++)
		compare("create + first mmap, one by one", "eager", "one", size[i], "time", "deferred", "eager", 1.05, 1)
	for (i = 1; i <= sizes; i++)
		compare("all creates, all MAPs, all mmaps", "eager", "many", size[i], "time", "deferred", "eager", 1.2, 0)
	for (p = 1; p <= 8; p *= 2) {
		what = "first mmap by " p (p > 1 ? " processes" : " process")
		compare(what, "unpatched", "processes-" p, 64, "time", "tip", "base", 1, 1)
		got = most["processes-" p, 64, "in_flight", "tip"] + 0
		row(got == p ? "ok" : "not ok", what ": MAP_BLOBs in flight",
		    "unpatched: " (("processes-" p, 64, "in_flight", "base") in most ? most["processes-" p, 64, "in_flight", "base"] : "-"),
		    64, count["processes-" p, 64] + 0, p, got)
	}
	for (i = 1; i <= sizes; i++)
		compare("second and later mmap, in instructions", "unpatched", "again", size[i], "time", "tip", "base", 1.02, 1)
}
