"""Networks: functions of tensors that know no data set."""
