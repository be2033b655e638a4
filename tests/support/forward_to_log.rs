//! For logs over another log that change a few answers: the methods of `Log` that forward to the log below.

/// `forward_to_log!(below: topic, reader)`, within an `impl Log`, forwards both to the log in field `below`.
macro_rules! forward_to_log {
    ($below:ident: $($method:ident),+ $(,)?) => {
        $(forward_to_log!(@ $method $below);)+
    };
    (@ incarnation $below:ident) => {
        fn incarnation(&self) -> u128 {
            self.$below.incarnation()
        }
    };
    (@ create_topics $below:ident) => {
        fn create_topics(&self, topics: &[marea::log::TopicSpec]) -> marea::Result<()> {
            self.$below.create_topics(topics)
        }
    };
    (@ topic $below:ident) => {
        fn topic(&self, name: &str) -> marea::Result<Option<marea::log::TopicSpec>> {
            self.$below.topic(name)
        }
    };
    (@ topic_names $below:ident) => {
        fn topic_names(&self) -> marea::Result<Vec<String>> {
            self.$below.topic_names()
        }
    };
    (@ delete_topics $below:ident) => {
        fn delete_topics(&self, names: &[String]) -> marea::Result<()> {
            self.$below.delete_topics(names)
        }
    };
    (@ start_offset $below:ident) => {
        fn start_offset(
            &self,
            partition: &marea::base::TopicPartition,
        ) -> marea::Result<marea::base::Offset> {
            self.$below.start_offset(partition)
        }
    };
    (@ end_offset $below:ident) => {
        fn end_offset(
            &self,
            partition: &marea::base::TopicPartition,
            isolation: marea::log::Isolation,
        ) -> marea::Result<marea::base::Offset> {
            self.$below.end_offset(partition, isolation)
        }
    };
    (@ delete_records $below:ident) => {
        fn delete_records(
            &self,
            before: &[(marea::base::TopicPartition, marea::base::Offset)],
        ) -> marea::Result<()> {
            self.$below.delete_records(before)
        }
    };
    (@ committed $below:ident) => {
        fn committed(
            &self,
            group: &str,
            partitions: &[marea::base::TopicPartition],
        ) -> marea::Result<Vec<Option<marea::log::CommittedOffset>>> {
            self.$below.committed(group, partitions)
        }
    };
    (@ delete_group $below:ident) => {
        fn delete_group(&self, group: &str) -> marea::Result<()> {
            self.$below.delete_group(group)
        }
    };
    (@ reader $below:ident) => {
        fn reader(&self, bytes: usize) -> marea::Result<Box<dyn marea::log::Reader>> {
            self.$below.reader(bytes)
        }
    };
    (@ writer $below:ident) => {
        fn writer(&self, id: &str, bytes: usize) -> marea::Result<Box<dyn marea::log::Writer>> {
            self.$below.writer(id, bytes)
        }
    };
    (@ join $below:ident) => {
        fn join(
            &self,
            request: marea::log::JoinRequest,
        ) -> marea::Result<Box<dyn marea::log::Membership>> {
            self.$below.join(request)
        }
    };
}
